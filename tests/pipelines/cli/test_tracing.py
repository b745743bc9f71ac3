"""The trace commands: what they import, and which store they ask."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from millrace.pipelines.cli import tracing
from millrace.pipelines.spec.source_map import SpecError


@pytest.mark.parametrize("words", [["doc", "lib/api.py"], ["step", "3"], ["text", "def  get"]])
def test_a_question_imports_only_what_its_answer_needs(
    small_store: SimpleNamespace, words: list[str]
) -> None:
    """When it has been asked before, neither components and their models nor Arrow's functions and datasets."""
    program = (
        "import json, sys\n"
        f"sys.argv = {['millrace', 'trace', *words, '--store', small_store.store.uri]!r}\n"
        "from millrace.pipelines.cli import main\n"
        "try: main()\n"
        "except SystemExit: print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    command = [sys.executable, "-c", program]
    subprocess.run(command, capture_output=True, check=True)
    done = subprocess.run(command, capture_output=True, check=True)
    loaded = json.loads(done.stderr.splitlines()[-1])
    unneeded = (
        "pyarrow.compute",
        "pyarrow.dataset",
        "numpy.ma",
        "millrace.pipelines.spec.models",
        "fsspec",
        "numba",
    )
    assert not [name for name in loaded if name in unneeded or name.startswith("millrace.components.")]


def test_a_question_needs_only_the_name_and_the_store_of_a_spec(
    small_store: SimpleNamespace, tmp_path: Path
) -> None:
    """A spec that was broken since still answers; a store that is named is asked about every pipeline."""
    spec = tmp_path / "pipeline.yaml"
    spec.write_text("name: mine\nstore: store\nstages: {a: {uses: a component that is gone}}\n")
    opened, pipeline = tracing.open_store_of(spec, None)
    assert (opened.uri, pipeline) == (str(tmp_path / "store"), "mine")
    assert tracing.open_store_of(spec, small_store.store.uri)[1] is None


@pytest.mark.parametrize("text", [None, "stages: {}", "- no mapping", "name: [a]"])
def test_a_spec_without_a_name_is_an_error_as_everywhere(tmp_path: Path, text: str | None) -> None:
    spec = tmp_path / "pipeline.yaml"
    if text is not None:
        spec.write_text(text)
    with pytest.raises(SpecError):
        tracing.open_store_of(spec, None)
