"""Hugging Face datasets: which files make a split, local folders of the datasets library, and a Hub on localhost."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.hub import COMMIT, hub

from millrace.data.sources import files, huggingface
from millrace.data.sources.huggingface import Dataset
from millrace.data.sources.records import Batch, Columns, Malformed, Options, Record, SourceError

TABLE = pa.table(
    {"text": [f"Text {index} — é" for index in range(40)], "key": [f"k{index}" for index in range(40)]}
)


def texts(dataset: Dataset, **options: Any) -> list[str]:
    found: list[str] = []
    for part in huggingface.plan(dataset, Options(**options)):
        for item in huggingface.read(part):
            assert not isinstance(item, Malformed), item
            found += [item.text] if isinstance(item, Record) else item.texts.to_pylist()
    return found


def parquet(rows: pa.Table = TABLE, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(rows, sink, **options)
    return sink.getvalue()


def chosen(paths: list[str], card: str = "", **dataset: Any) -> list[str]:
    return huggingface.files_of_split(sorted(paths), card, Dataset("owner/name", **dataset))


@pytest.mark.parametrize(
    ("paths", "split", "expected"),
    [
        (["README.md", "train.jsonl", "test.jsonl"], "train", ["train.jsonl"]),
        (["a.parquet", "b.parquet", "notes.txt"], "train", ["a.parquet", "b.parquet"]),
        (["data/train-00000-of-00001.parquet", "data/sft-00000-of-00001.parquet"], "sft", ["data/sft-00000-of-00001.parquet"]),
        (["data/train_sft-00000-of-00001-0a1b.parquet", "train.csv"], "train", ["train.csv"]),
        (["train/0.jsonl.gz", "train/1.jsonl.gz", "dev/0.jsonl.gz"], "validation", ["dev/0.jsonl.gz"]),
        (["my-valid.csv", "my_testing.csv", ".git/train.csv"], "test", ["my_testing.csv"]),
    ],
)  # fmt: skip
def test_names_tell_the_split(paths: list[str], split: str, expected: list[str]) -> None:
    assert chosen(paths, split=split) == expected


CARD = """---
license: mit
configs:
- config_name: en
  data_files:
  - {split: train, path: "en/*.parquet"}
  - {split: rest, path: [other/a.parquet, "other/deep/**"]}
  default: true
- config_name: fr
  data_files: "fr/**/*.parquet"
- config_name: de
  data_dir: de
---
# Words
"""
PATHS = [
    "en/1.parquet",
    "en/x/2.parquet",
    "fr/3.parquet",
    "fr/x/4.parquet",
    "de/5.parquet",
    "other/a.parquet",
]


def test_the_card_tells_configurations_and_splits() -> None:
    paths = [*PATHS, "other/deep/b.parquet", "de/README.md", "other/deep/.b.parquet.crc"]
    assert chosen(paths, CARD) == chosen(paths, CARD, name="en") == ["en/1.parquet"]
    assert chosen(paths, CARD, split="rest") == ["other/a.parquet", "other/deep/b.parquet"]
    assert chosen(paths, CARD, name="fr") == ["fr/3.parquet", "fr/x/4.parquet"]
    assert chosen(paths, CARD, name="de") == ["de/5.parquet"]
    assert chosen(paths, CARD, data_files=("*/x/*",)) == ["en/x/2.parquet", "fr/x/4.parquet"]
    assert chosen(["en/train/0.parquet", "fr/train/0.parquet"], name="fr") == ["fr/train/0.parquet"]


@pytest.mark.parametrize(
    ("paths", "card", "dataset", "problem"),
    [
        (PATHS, CARD, {"name": "nl"}, "configuration 'nl' .*expected one of de, en, fr"),
        (PATHS, CARD, {"split": "test"}, "split 'test' .*expected one of its splits: rest, train"),
        (PATHS, CARD.replace("default: true", ""), {}, "got no name .*configurations: de, en, fr"),
        (PATHS, CARD, {"split": "rest"}, r"pattern 'other/deep/\*\*' that matches no file .*of: de/5"),
        (PATHS, "", {"name": "nl"}, "expected a folder of that name, among de, en, fr, other"),
        (["train.csv"], "", {"split": "test"}, r"one of its splits \(train\): set split or data_files"),
        (["name.py"], "", {}, "revision: refs/convert/parquet for a dataset that a script makes"),
    ],
)
def test_what_is_not_there_is_named_with_what_is(
    paths: list[str], card: str, dataset: dict[str, Any], problem: str
) -> None:
    with pytest.raises(SourceError, match=problem):
        chosen(paths, card, **dataset)


def write_arrow(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table)


def save_to_disk(folder: Path, shards: int = 2) -> None:
    """Writes the files of ``Dataset.save_to_disk`` (datasets 5.2) that reading needs."""
    size = TABLE.num_rows // shards
    names = [f"data-{index:05d}-of-{shards:05d}.arrow" for index in range(shards)]
    for index, name in enumerate(names):
        write_arrow(folder / name, TABLE.slice(index * size, size))
    state = {"_data_files": [{"filename": name} for name in names], "_split": None}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text("{}")


def test_what_save_to_disk_and_the_cache_hold_is_read_without_any_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    save_to_disk(tmp_path / "one")
    expected = TABLE["text"].to_pylist()
    assert texts(Dataset(str(tmp_path / "one"))) == expected
    save_to_disk(tmp_path / "many/test")
    (tmp_path / "many/dataset_dict.json").write_text('{"splits": ["test"]}')
    assert texts(Dataset(str(tmp_path / "many"), split="test")) == expected
    with pytest.raises(SourceError, match="got split 'train', expected one of test"):
        texts(Dataset(str(tmp_path / "many")))
    leaf = tmp_path / "cache/owner___name/en/0.0.0/abc"
    write_arrow(leaf / "name-train.arrow", TABLE)
    write_arrow(leaf / "cache-0123.arrow", TABLE)
    (leaf / "dataset_info.json").write_text("{}")
    cache = str(tmp_path / "cache/owner___name")
    assert texts(Dataset(cache)) == texts(Dataset(cache, name="en")) == expected
    with pytest.raises(
        SourceError, match=r"got split 'test' of the cache .*: cache-0123.arrow, name-train.arrow"
    ):
        texts(Dataset(cache, split="test"))
    with pytest.raises(SourceError, match=r"huggingface_hub is not installed; .*'millrace\[huggingface\]'"):
        texts(Dataset("owner/name"))


def test_a_local_dataset_that_is_not_whole_or_not_plain_says_so(tmp_path: Path) -> None:
    save_to_disk(tmp_path / "one")
    first = huggingface.fingerprint(Dataset(str(tmp_path / "one")))
    assert json.loads(json.dumps(first)) == first
    (tmp_path / "one/data-00001-of-00002.arrow").unlink()
    with pytest.raises(SourceError, match="the dataset is not whole"):
        huggingface.fingerprint(Dataset(str(tmp_path / "one")))
    for state, problem in (
        ({"_data_files": [{"filename": "../x.arrow"}]}, "outside of"),
        ({"_indices_files": [{"filename": "i.arrow"}]}, "flatten_indices"),
    ):
        (tmp_path / "one/state.json").write_text(json.dumps(state))
        with pytest.raises(SourceError, match=problem):
            texts(Dataset(str(tmp_path / "one")))
    (tmp_path / "one/state.json").write_text("{")
    with pytest.raises(SourceError, match=r"state.json that is no JSON"):
        texts(Dataset(str(tmp_path / "one")))
    with pytest.raises(SourceError, match="expected owner/name on the Hub or a local folder"):
        texts(Dataset(str(tmp_path / "none")))


FILES = {
    "README.md": b"---\nlicense: mit\n---\n",
    "data/train-00000-of-00002.parquet": parquet(TABLE.slice(0, 20)),
    "data/train-00001-of-00002.parquet": parquet(TABLE.slice(20), row_group_size=5),
    "data/test-00000-of-00001.parquet": parquet(TABLE.slice(0, 1)),
}


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[dict[str, bytes], list[str]]]:
    """The files of a Hub on localhost that huggingface_hub asks with a token, and the requests."""
    import huggingface_hub
    from huggingface_hub import constants

    own = dict(FILES)
    with hub(own, token="hf_secret") as (address, asked):
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        huggingface_hub.HfFileSystem.clear_instance_cache()
        yield own, asked
        huggingface_hub.HfFileSystem.clear_instance_cache()


def test_a_dataset_on_the_hub_is_read_at_its_commit(served: tuple[dict[str, bytes], list[str]]) -> None:
    dataset = Dataset("owner/name")
    assert huggingface.fingerprint(dataset) == ["owner/name", COMMIT]
    assert texts(dataset, columns=Columns(id="key")) == TABLE["text"].to_pylist()
    (part,) = huggingface.plan(dataset, Options())
    assert [piece.uri for piece in part.files] == [
        f"hf://datasets/owner/name@{COMMIT}/{path}" for path in FILES if "/train-" in path
    ]
    assert texts(Dataset("owner/name", split="test")) == TABLE["text"].to_pylist()[:1]


def test_a_commit_needs_no_request_when_planning(served: tuple[dict[str, bytes], list[str]]) -> None:
    assert huggingface.fingerprint(Dataset("owner/name", revision=COMMIT)) == ["owner/name", COMMIT]
    assert served[1] == []


def test_large_files_on_the_hub_are_read_in_ranges(
    served: tuple[dict[str, bytes], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "PART_BYTES", 500)
    parts = huggingface.plan(Dataset("owner/name"), Options())
    assert len(parts) > 3
    assert texts(Dataset("owner/name")) == TABLE["text"].to_pylist()


def test_the_hubs_refusals_are_errors_of_the_source(
    served: tuple[dict[str, bytes], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SourceError, match=r"owner/none at revision main, .*: (404|Repository)"):
        huggingface.fingerprint(Dataset("owner/none"))
    with pytest.raises(SourceError, match="at revision v9, expected one that HF_TOKEN may read"):
        huggingface.fingerprint(Dataset("owner/name", revision="v9"))
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    with pytest.raises(SourceError, match="expected one that HF_TOKEN may read: ") as caught:
        huggingface.fingerprint(Dataset("owner/name"))
    assert "hf_other" not in str(caught.value)


def test_patterns_of_files_reach_the_hub_and_memory(served: tuple[dict[str, bytes], list[str]]) -> None:
    import fsspec

    fsspec.filesystem("memory").pipe("/words/a.parquet", FILES["data/test-00000-of-00001.parquet"])
    for pattern in (f"hf://datasets/owner/name@{COMMIT}/data/test-*.parquet", "memory://words/*.parquet"):
        (part,) = files.plan([pattern])
        (batch,) = files.read(part)
        assert isinstance(batch, Batch)
        assert batch.texts.to_pylist() == TABLE["text"].to_pylist()[:1]
