"""The reference pipeline at a reduced size, end to end, through the command line as a user has it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

TESTS = Path(__file__).resolve().parent
COMMAND = [sys.executable, "-c", "from millrace.pipelines.cli import main; main()"]
AFTER_SFT = {"sft", "reward", "rlhf", "evaluate", "gate", "export"}


def millrace(folder: Path, *arguments: str, code: int = 0) -> str:
    """Runs a command in a folder and returns what it printed."""
    done = subprocess.run(
        [*COMMAND, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == code, done.stdout[-3000:] + done.stderr[-3000:]
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout


def run(folder: Path, *arguments: str) -> dict[str, Any]:
    """Runs the pipeline and returns its result."""
    result: dict[str, Any] = json.loads(millrace(folder, "run", "--json", *arguments))
    return result


def digests(result: dict[str, Any]) -> dict[str, Any]:
    """Stage -> port -> digest."""
    return {name: stage["outputs"] for name, stage in result["stages"].items()}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder with the spec, its store after one run, and the run's result."""
    folder = tmp_path_factory.mktemp("reference")
    shutil.copy(TESTS / "reduced.yaml", folder / "pipeline.yaml")
    return folder, run(folder)


Reference = tuple[Path, dict[str, Any]]


def test_the_reduced_spec_has_every_stage_and_wire_of_the_reference() -> None:
    """The reduced and the full reference run the same stages."""
    full, reduced = (
        yaml.safe_load(path.read_text(encoding="utf-8"))["stages"]
        for path in (TESTS.parent / "pipeline.yaml", TESTS / "reduced.yaml")
    )
    wiring = [
        {name: (stage["uses"], stage.get("inputs")) for name, stage in stages.items()}
        for stages in (full, reduced)
    ]
    assert wiring[0] == wiring[1]


def test_the_whole_route_ends_with_a_package_and_its_card(reference: Reference) -> None:
    """Every stage ran, and what they lead to is there."""
    _, result = reference
    assert {stage["status"] for stage in result["stages"].values()} == {"ran"}
    package = Path(result["package"])
    card = (package / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert yaml.safe_load(card.split("---")[1])["library_name"] == "millrace"
    for words in ("| ingest | code |", "| decontaminate | all |", "Licences", "95%", "4 bits"):
        assert words in card


def test_again_everything_is_reused(reference: Reference) -> None:
    """An unchanged spec runs nothing and gives the same digests."""
    folder, result = reference
    again = run(folder)
    assert {stage["status"] for stage in again["stages"].values()} == {"reused"}
    assert digests(again) == digests(result)


def test_a_changed_learning_rate_reruns_what_depends_on_it(reference: Reference) -> None:
    """The plan names the stages and the field, and nothing else runs."""
    folder, _ = reference
    planned = json.loads(millrace(folder, "plan", "--json", "--set", "stages.sft.with.learning_rate=0.0007"))[
        "stages"
    ]
    assert {stage["stage"] for stage in planned if stage["action"] == "run"} == AFTER_SFT
    reasons = {stage["stage"]: stage["reasons"] for stage in planned}
    assert reasons["sft"] == ["config learning_rate 0.0005 -> 0.0007"]
    assert reasons["reward"] == ["model comes from sft, which runs"]


def test_the_store_is_sound_and_its_index_is_only_a_cache(reference: Reference) -> None:
    """Every artifact reads back as written; the index can be lost."""
    folder, _ = reference
    assert json.loads(millrace(folder, "store", "verify", "--json"))["damage"] == []
    millrace(folder, "store", "reindex")


def test_dropped_documents_say_why(reference: Reference) -> None:
    """A near-duplicate names its survivor and similarity, a contaminated file the example and the matching span."""
    folder, _ = reference
    found: dict[str, str] = {}
    import pyarrow.parquet as pq

    from millrace.pipelines.store.store import Store

    store = Store(str(folder / ".millrace"))
    state = store.read_run(store.run_ids()[-1])
    assert state is not None
    for stage, rule in (("dedup", "near"), ("decontaminate", "contaminated")):
        record = store.record(state["stages"][stage]["key"])
        assert record is not None
        for shard in sorted(store.folder(record.outputs["decisions"]["digest"]).glob("*.parquet")):
            for row in pq.read_table(shard).to_pylist():
                if row["action"] == "drop" and row["rule"] == rule:
                    found[rule] = row["doc_id"]
    near = millrace(folder, "trace", "doc", found["near"])
    assert "python://" in near
    assert "similarity" in near
    assert "instead" in near or "survivor" in near
    contaminated = millrace(folder, "trace", "doc", found["contaminated"])
    assert "contaminated" in contaminated
    assert "docstrings/" in contaminated or "returns/" in contaminated or "held_out" in contaminated


def test_every_document_leads_to_exactly_the_steps_that_lead_to_it(reference: Reference) -> None:
    """Tracing each document and tracing each training step are inverse, dropped documents too."""
    from tests.inverse import assert_inverse

    from millrace.pipelines.store.store import Store
    from millrace.pipelines.trace.runs import open_run

    with open_run(Store(str(reference[0] / ".millrace"))) as opened:
        assert assert_inverse(opened) > len(opened.stages)


def test_the_model_answers(reference: Reference) -> None:
    """The package that the run ends with can be talked to."""
    folder, _ = reference
    options = ("--prompt", "def add(a, b):", "--max-tokens", "8", "--seed", "1")
    assert millrace(folder, "chat", *options) == millrace(folder, "chat", *options)


@pytest.mark.slow
def test_a_run_does_exactly_what_its_plan_says(reference: Reference) -> None:
    """Stages planned to run ran, and stages planned as reused were reused."""
    folder, _ = reference
    setting = ("--set", "stages.sft.with.learning_rate=0.0007")
    planned = json.loads(millrace(folder, "plan", "--json", *setting))["stages"]
    result = run(folder, *setting)
    ran = {name for name, stage in result["stages"].items() if stage["status"] == "ran"}
    assert ran == {stage["stage"] for stage in planned if stage["action"] == "run"} == AFTER_SFT


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["1", "4"])
def test_two_runs_from_empty_stores_give_the_same_digests(
    reference: Reference, tmp_path: Path, jobs: str
) -> None:
    """Every artifact, weights too, is the same however many stages run at once."""
    _, result = reference
    shutil.copy(TESTS / "reduced.yaml", tmp_path / "pipeline.yaml")
    assert digests(run(tmp_path, "--jobs", jobs)) == digests(result)
