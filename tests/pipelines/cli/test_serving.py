"""Commands that use a package: which one they take when none is named."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from millrace.components.contract import ComponentError
from millrace.pipelines.cli import app, serving

SPEC = Path("pipeline.yaml")


def fill(text: str) -> object:
    return lambda folder: (folder / "weights").write_text(text)


def test_the_newest_package_that_is_still_there_is_taken(small_store: SimpleNamespace) -> None:
    builder, digests = small_store.builder, []
    for number in (1, 2):
        run = f"2025020{number}-000000-aaaa"
        made = builder.stage("export", "export", {"package": ("package", fill(str(number)))}, run=run)
        digests.append(made.outputs["package"]["digest"])
        builder.run(run)
    store = small_store.store
    assert serving.newest_package(SPEC, store.uri) == store.folder(digests[1])
    store.backend.remove(f"artifacts/{digests[1][:2]}/{digests[1]}")
    assert serving.newest_package(SPEC, store.uri) == store.folder(digests[0])


def test_a_store_without_a_package_says_what_makes_one(small_store: SimpleNamespace) -> None:
    with pytest.raises(
        ComponentError, match=r"no run of pipeline\.yaml has made a package yet; `millrace run`"
    ):
        serving.newest_package(SPEC, small_store.store.uri)


@pytest.mark.parametrize("command", ["chat", "serve"])
def test_a_folder_that_is_no_package_is_an_error_that_a_user_can_mend(command: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [command, str(tmp_path)])
    assert isinstance(result.exception, ComponentError)
    assert "expected a model package" in str(result.exception)
