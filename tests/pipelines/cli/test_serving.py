"""Commands that use a package: which one they take when none is named."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from millrace.components.contract import ComponentError
from millrace.pipelines.cli import app, serving


def packaged(store: SimpleNamespace, number: int, pipeline: str = "small") -> str:
    """The digest of a package that a new run of a pipeline makes."""

    def fill(folder: Path) -> None:
        (folder / "weights").write_text(str(number))

    run = f"2025020{number}-000000-aaaa"
    made = store.builder.stage("export", "export", {"package": ("package", fill)}, run=run)
    store.builder.run(run, pipeline=pipeline)
    return str(made.outputs["package"]["digest"])


def spec_of(folder: Path, name: str) -> Path:
    """A spec that need not be sound, but for its name."""
    (folder / f"{name}.yaml").write_text(f"name: {name}\nstages: {{x: {{uses: gone}}}}\n")
    return folder / f"{name}.yaml"


def test_the_newest_package_that_is_still_there_is_taken(
    small_store: SimpleNamespace, tmp_path: Path
) -> None:
    digests = [packaged(small_store, number) for number in (1, 2)]
    store, spec = small_store.store, spec_of(tmp_path, "small")
    assert serving.newest_package(spec, store.uri) == store.folder(digests[1])
    store.backend.remove(f"artifacts/{digests[1][:2]}/{digests[1]}")
    assert serving.newest_package(spec, store.uri) == store.folder(digests[0])


def test_a_spec_gets_the_package_of_its_own_pipeline(small_store: SimpleNamespace, tmp_path: Path) -> None:
    """Another pipeline that shares the store made a newer one."""
    digests = {name: packaged(small_store, number, name) for number, name in ((1, "mine"), (2, "other"))}
    for name, digest in digests.items():
        found = serving.newest_package(spec_of(tmp_path, name), small_store.store.uri)
        assert found == small_store.store.folder(digest)
    with pytest.raises(ComponentError, match=r"no run of .*third"):
        serving.newest_package(spec_of(tmp_path, "third"), small_store.store.uri)


def test_without_a_spec_a_store_must_have_packages_of_one_pipeline(
    small_store: SimpleNamespace, tmp_path: Path
) -> None:
    nowhere, store = tmp_path / "nowhere.yaml", small_store.store
    digest = packaged(small_store, 1, "mine")
    assert serving.newest_package(nowhere, store.uri) == store.folder(digest)
    packaged(small_store, 2, "other")
    with pytest.raises(ComponentError, match=r"of the pipelines mine, other .*--spec"):
        serving.newest_package(nowhere, store.uri)


def test_a_store_without_a_package_says_what_makes_one(small_store: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(ComponentError, match=r"no run of .*yaml has made a package yet; `millrace run`"):
        serving.newest_package(spec_of(tmp_path, "small"), small_store.store.uri)


@pytest.mark.parametrize("command", ["chat", "serve"])
def test_a_folder_that_is_no_package_is_an_error_that_a_user_can_mend(command: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [command, str(tmp_path)])
    assert isinstance(result.exception, ComponentError)
    assert "expected a model package" in str(result.exception)
