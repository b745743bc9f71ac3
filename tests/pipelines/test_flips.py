"""One changed bit in any kind of file of a store is noticed where the file is used, and by verify."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from millrace.pipelines.index import folders, lineage, row_index
from millrace.pipelines.store import maintenance
from millrace.pipelines.store.backends import MANIFEST, RemoteBackend
from millrace.pipelines.store.errors import DamagedError, StoreError
from millrace.pipelines.store.store import Store
from millrace.pipelines.trace import find
from millrace.pipelines.trace.runs import open_run

FLIPS = 100
KINDS = ("artifact", "manifest", "record", "run", "spec", "rows", "database", "copy")
RUN = "20250101-000000-aaaa"


def seeded() -> random.Random:
    """Another seed in each run; a test that fails shows it."""
    seed = random.SystemRandom().randrange(2**32)
    print("seed", seed)
    return random.Random(seed)


def files_of(kind: str, root: Path) -> list[Path]:
    """The files of one kind below a store's folder."""
    artifacts = [path for path in root.glob("artifacts/*/*/**/*") if path.is_file()]
    return sorted(
        {
            "artifact": [path for path in artifacts if path.name != MANIFEST],
            "manifest": [path for path in artifacts if path.name == MANIFEST],
            "record": list(root.glob("stages/*.json")),
            "run": list(root.glob("runs/*/run.json")),
            "spec": list(root.glob("runs/*/spec.json")),
            "rows": list(root.glob("index/*/*")),
            "database": [root / lineage.FILE],
        }[kind]
    )


def flip(file: Path, draw: random.Random) -> Callable[[], object]:
    """Changes one bit of a file in place; returns what brings the old bytes back."""
    old = file.read_bytes()
    new = bytearray(old)
    new[draw.randrange(len(new))] ^= 1 << draw.randrange(8)
    file.chmod(0o644)
    file.write_bytes(new)

    def mend() -> None:
        file.unlink(missing_ok=True)
        file.write_bytes(old)

    return mend


def answers(small: SimpleNamespace, store: Store) -> Any:
    """Whatever questions about the documents say."""
    with open_run(store) as run:
        found = [find.find_document(run, small.id(uri)) for uri in list(small.texts)[:6]]
    with closing(lineage.open_index(store)) as index:
        rows = [tuple(row) for row in index.execute("SELECT key, stage, config, metrics FROM stages")]
    return found, sorted(rows)


def use(kind: str, file: Path, store: Store) -> object:
    """Uses a file as the commands do that need it."""
    if kind in ("artifact", "manifest"):
        return store.take(file.relative_to(store.scratch).parts[2])
    if kind == "record":
        return store.record(file.stem)
    return store.read_run(file.parent.name, file.name)


@pytest.fixture
def whole(small_store: SimpleNamespace) -> SimpleNamespace:
    """The small store with a spec, indexed and sound."""
    small_store.store.write_spec(RUN, {"name": "small"})
    small_store.answers = answers(small_store, small_store.store)
    assert maintenance.verify(small_store.store) == lineage.damage(small_store.store) == []
    return small_store


@pytest.mark.parametrize("kind", KINDS[:-1])
def test_a_changed_bit_is_noticed_when_the_file_is_used_and_by_verify(
    whole: SimpleNamespace, kind: str
) -> None:
    """What is the truth is refused by name; an index is made again, and the answers stay as they were."""
    draw = seeded()
    for _ in range(FLIPS // len(KINDS) + 1):
        store = Store(whole.store.uri)
        file = draw.choice([path for path in files_of(kind, store.scratch) if path.stat().st_size])
        mend = flip(file, draw)
        told = {item.path for item in (*maintenance.verify(store), *lineage.damage(store))}
        where = {str(file), str(file.parent), file.relative_to(store.scratch).as_posix()}
        assert any(one in where or any(name.startswith(one) for name in where) for one in told), (file, told)
        if kind in ("rows", "database"):
            assert answers(whole, Store(store.uri)) == whole.answers
            lineage.reindex(store)  # the arrays that no question needed
        else:
            with pytest.raises(StoreError, match=r"cannot be read|is not what was written"):
                use(kind, file, store)
            mend()
            maintenance.verify(store)
    assert maintenance.verify(whole.store) == lineage.damage(whole.store) == []


def test_a_changed_bit_of_a_row_file_is_noticed_by_the_next_question(whole: SimpleNamespace) -> None:
    """No verify comes first here."""
    draw = seeded()
    for kind in ("rows", "database") * 5:
        file = draw.choice([path for path in files_of(kind, whole.store.scratch) if path.stat().st_size])
        flip(file, draw)
        assert answers(whole, Store(whole.store.uri)) == whole.answers, file
    lineage.reindex(whole.store)
    assert lineage.damage(whole.store) == []


def test_a_changed_bit_of_an_objects_copy_is_noticed_and_fetched_again(
    whole: SimpleNamespace, tmp_path: Path
) -> None:
    """The object stays the truth; verify names the copy."""
    draw = seeded()
    store = Store(str(tmp_path / "machine"))
    store.backend, store.is_local = RemoteBackend(f"file://{whole.store.uri}", store.scratch), False
    digests = list(whole.digests.values())
    for _ in range(FLIPS // len(KINDS) + 1):
        digest = draw.choice(digests)
        files = sorted(
            path for path in store.take(digest).rglob("*") if path.is_file() and path.name != MANIFEST
        )
        file = draw.choice(files)
        sound = file.read_bytes()
        flip(file, draw)
        assert any(digest in item.path for item in maintenance.verify(store))
        assert (store.take(digest) / file.name).read_bytes() == sound
        assert maintenance.verify(store) == []


def test_an_artifact_that_rotted_is_not_read_by_a_question(whole: SimpleNamespace) -> None:
    """Whose index was there already."""
    digest = whole.digests["ingest.documents"]
    (file,) = (path for path in whole.store.folder(digest).iterdir() if path.name != MANIFEST)
    flip(file, seeded())
    with (
        open_run(Store(whole.store.uri)) as run,
        pytest.raises(DamagedError, match="the stage that made it runs again"),
    ):
        find.find_document(run, whole.id("lib/api.py"))


def test_folders_of_the_index_are_told_apart_by_kind(whole: SimpleNamespace) -> None:
    """Each has a manifest of its own."""
    made = list(folders.index_folder(whole.store).iterdir())
    assert len(made) >= 4
    for path in made:
        assert folders.notes(whole.store, path)["version"] in row_index.VERSIONS.values()
