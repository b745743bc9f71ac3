"""The pretrain stage: it learns, resumes to the same bytes, and names what does not fit before compiling."""

from __future__ import annotations

import json
import math
import random
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.small_training import CONFIG, PHASES, files

from millrace.components.contract import ComponentError
from millrace.components.training import digests
from millrace.data.training import streams as token_stream
from millrace.model.package import weights


@pytest.fixture(scope="module")
def finished() -> dict[str, SimpleNamespace]:
    """Runs that several tests look at."""
    return {}


@pytest.fixture
def undisturbed(
    run_component: Any, corpus: dict[str, Path], finished: dict[str, SimpleNamespace]
) -> SimpleNamespace:
    """A run of ``CONFIG`` from start to end."""
    if not finished:
        finished["undisturbed"] = run_component("pretrain", CONFIG, corpus)
    return finished["undisturbed"]


def test_it_learns_what_the_mixture_feeds(undisturbed: SimpleNamespace) -> None:
    """Held-out bits per byte fall from those of a uniform guess, and the report tells the curve in tokens."""
    done = undisturbed
    config, _ = weights.load(done.outputs["model"])
    report = json.loads((done.outputs["report"] / "report.json").read_text())
    first, *_, last = report["held_out"]
    assert (first["step"], last["step"], last["tokens"]) == (0, 20, 8 * 32 * 20)
    assert last["bits_per_byte"] < 0.7 * first["bits_per_byte"]
    assert done.metrics["bits_per_byte_docs"] < done.metrics["bits_per_byte_code"]
    assert report["loss"][0]["loss"] == pytest.approx(math.log(config.vocab_size), rel=0.02)
    assert [entry["step"] for entry in report["loss"]] == list(range(1, 21))
    assert done.metrics["tokens_out"] == last["tokens"] == report["tokens"]


def test_what_is_kept_measured_and_told_is_as_configured(
    run_component: Any, corpus: dict[str, Path], undisturbed: SimpleNamespace, tmp_path: Path
) -> None:
    """Checkpoints, states that stay, live losses, checksums and held-out text of the same twenty steps."""
    settings = {
        "keep_checkpoints": 1,
        "keep_state_every_steps": 8,
        "log_every_steps": 3,
        "digest_every_steps": 6,
        "evaluate_every_steps": 7,
        "held_out_bytes_per_source": 256,
    }
    done = run_component("pretrain", CONFIG | settings, corpus, work=tmp_path)
    kept = [len(list(work.glob("checkpoints/[0-9]*"))) for work in (tmp_path, undisturbed.work)]
    assert kept == [1, 2]
    assert json.loads((done.outputs["states"] / "states.json").read_text()) == {"steps": [8, 16]}
    live = [event["step"] for event in done.events if event.get("name") == "loss" and event["step"]]
    assert live == [3, 6, 9, 12, 15, 18, 20]
    records = (done.outputs["report"] / digests.FILE).read_text().splitlines()
    assert [json.loads(line)["step"] for line in records] == [5, 11, 17, 19]
    measured, other = (
        json.loads((of.outputs["report"] / "report.json").read_text())["held_out"]
        for of in (done, undisturbed)
    )
    assert [row["step"] for row in measured] == [0, 7, 14, 20]
    assert measured[0]["bits_per_byte"] != other[0]["bits_per_byte"]
    assert (done.outputs["model"] / "weights.safetensors").read_bytes() == (
        undisturbed.outputs["model"] / "weights.safetensors"
    ).read_bytes()


class Killed(BaseException):
    """Stands for a kill: nothing in a component catches it."""


def test_a_killed_training_ends_with_the_same_bytes(
    run_component: Any,
    corpus: dict[str, Path],
    undisturbed: SimpleNamespace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Killed at its thirteenth step, it goes on from the tenth, and all files are those of an undisturbed run."""
    read, asked = token_stream.TokenStreams.read, []

    def dying(self: Any, *span: Any) -> Any:
        asked.append(span)
        if len(asked) == 8 * 13:
            raise Killed
        return read(self, *span)

    monkeypatch.setattr(token_stream.TokenStreams, "read", dying)
    with pytest.raises(Killed):
        run_component("pretrain", CONFIG, corpus, work=tmp_path / "work")
    resumed = run_component("pretrain", CONFIG, corpus, work=tmp_path / "work")
    assert len(asked) < 8 * (13 + 13)
    assert files(resumed.outputs) == files(undisturbed.outputs)


LONGER = CONFIG | {
    "phases": [PHASES[0] | {"until_tokens": 8 * 32 * 30}, PHASES[1] | {"until_tokens": 8 * 32 * 60}],
    "checkpoint_every_steps": 3,
    "log_every_steps": 1,
}


def script(inputs: Mapping[str, Path], base: Path, kill_at: int) -> str:
    """A program that trains in the work folder of ``base`` and kills itself when it tells a step."""
    paths = {port: str(path) for port, path in inputs.items()}
    return f"""
import logging, os, signal
from pathlib import Path
from millrace.components.pretrain import stage as pretrain
from millrace.components.contract import Artifact, Inputs
from millrace.pipelines.stages.context import StageContext

def emit(event):
    if event["event"] == "metric" and event["step"] == {kill_at} and event["name"] == "loss":
        os.kill(os.getpid(), signal.SIGKILL)

base = Path({str(base)!r})
outputs = {{port: base / port for port in ("model", "report")}}
for folder in outputs.values():
    folder.mkdir(exist_ok=True)
context = StageContext(seed=0, work=base / "work", outputs=outputs, emit=emit, log=logging.getLogger())
inputs = {{port: Artifact(Path(path), "", "", port) for port, path in {paths!r}.items()}}
pretrain.run(context, pretrain.PretrainConfig.model_validate({LONGER!r}), Inputs(inputs))
"""


@pytest.mark.slow
def test_kill_9_at_twenty_random_steps_of_one_training_leaves_no_trace(
    run_component: Any, corpus: dict[str, Path], tmp_path: Path
) -> None:
    """A process for each, every one going on from whatever checkpoint was whole: weights and report are the same bits."""
    for step in sorted(random.Random(0).sample(range(1, 60), 20)):
        command = [sys.executable, "-c", script(corpus, tmp_path, step)]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    ended = run_component("pretrain", LONGER, corpus, work=tmp_path / "work")
    assert files(ended.outputs) == files(run_component("pretrain", LONGER, corpus).outputs)


GROWING: dict[str, Any] = CONFIG | {
    "tokens": 8 * 32 * 20,
    "phases": [
        {"share": 0.5, "weights": {"code": 3, "docs": 1}, "sequence_length_tokens": 16, "batch_size": 4},
        {"share": 0.5, "weights": {"docs": 1}, "sequence_length_tokens": 32, "rope_base": 50_000.0},
    ],
    "optimizer": "muon",
    "accumulate_steps": 2,
    "packing": "documents",
}


def test_phases_may_grow_in_length_batch_and_base(run_component: Any, corpus: dict[str, Path]) -> None:
    """With Muon, microbatches and packed documents it still learns, and the model keeps the last phase's base."""
    done = run_component("pretrain", GROWING, corpus)
    config, _ = weights.load(done.outputs["model"])
    report = json.loads((done.outputs["report"] / "report.json").read_text())
    assert (config.rope_base, config.max_sequence_tokens) == (50_000.0, 32)
    assert (report["tokens"], report["steps"]) == (8 * 32 * 20, 40 + 10)
    assert report["held_out"][-1]["bits_per_byte"] < 0.7 * report["held_out"][0]["bits_per_byte"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"phases": [PHASES[0] | {"weights": {"prose": 1}}]}, "'prose', expected one of code, docs"),
        ({"phases": [PHASES[0] | {"sequence_length_tokens": 4096}]}, "one sequence of phase 0"),
        ({"max_epochs": 0.5}, "at most max_epochs = 0.5"),
    ],
)
def test_phases_that_do_not_fit_are_named(
    run_component: Any, corpus: dict[str, Path], change: dict[str, Any], message: str
) -> None:
    """Unknown sources, short streams and too many epochs stop the stage at once."""
    with pytest.raises(ComponentError, match=message):
        run_component("pretrain", CONFIG | change, corpus)


def test_a_foreign_tokenizer_is_refused(run_component: Any, corpus: dict[str, Path], tmp_path: Path) -> None:
    """Token streams of another vocabulary are an error, not a bad model."""
    token_stream.write_index(tmp_path, 999, {})
    with pytest.raises(ComponentError, match="999 token ids in the tokens"):
        run_component("pretrain", CONFIG, corpus | {"tokens": tmp_path})


def test_a_loss_that_explodes_stops_with_its_step(run_component: Any, corpus: dict[str, Path]) -> None:
    """A learning rate far too high ends in an error that names the step, its documents and what to lower."""
    config = CONFIG | {"learning_rate": 1e30, "clip_norm": 1e30, "warmup_steps": 0}
    without = {port: folder for port, folder in corpus.items() if port != "benchmarks"}
    with pytest.raises(ComponentError, match=r"(loss|gradient norm) of step \d+ is not finite") as caught:
        run_component("pretrain", config, without)
    assert f"\n  row 0: code {'0' * 32}" in str(caught.value)
    with pytest.raises(ComponentError, match="after 2 steps that were skipped"):
        run_component("pretrain", config | {"on_non_finite": "skip", "max_skipped_steps": 2}, without)
