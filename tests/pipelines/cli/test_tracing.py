"""The trace commands import only the modules that their answers need."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest


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
