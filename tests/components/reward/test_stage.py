"""The reward stage: what it learns, what it refuses, and that it resumes to the same bytes."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.small_training import first_step

from millrace.components.contract import ComponentError
from millrace.components.reward import stage as reward
from millrace.data.tokenizer.tokenizer import Tokenizer
from millrace.model.judges import reward as model_reward

CONFIG = {"epochs": 12, "batch_size": 8, "learning_rate": 3e-3, "weights": {"complete": 2.0}}


def inputs_of(tiny: SimpleNamespace, **other: Path) -> dict[str, Path]:
    """The stage's input folders, some replaced."""
    return {"model": tiny.model, "tokenizer": tiny.tokenizer, "preferences": tiny.preferences, **other}


def files(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_learns_the_easy_head_and_reports_intervals(tiny: SimpleNamespace, run_component: Any) -> None:
    """Cut-off answers are told from whole ones on held-out pairs; weights and heads are written as configured."""
    done = run_component("reward", CONFIG, inputs_of(tiny))
    report = json.loads((done.outputs["report"] / "report.json").read_text())
    complete = report["heads"]["complete"]
    assert complete["low"] <= complete["score"] <= complete["high"]
    assert done.metrics["accuracy_complete"] == complete["score"] == 1.0
    _, _, heads = model_reward.load(done.outputs["reward"])
    # The other head cannot be learnt from 36 questions by this model: noise gets no say.
    assert [(head.name, head.weight) for head in heads] == [("complete", 2.0), ("match", 0.0)]
    assert report["heads"]["match"]["above_chance"] is False


def test_a_head_is_kept_by_its_interval_and_not_by_its_score(
    tiny: SimpleNamespace, run_component: Any, tmp_path: Path
) -> None:
    """Three right of three is a score of 1, but its interval reaches below chance: the head gets no say unless told."""
    folder = tmp_path / "preferences"
    shutil.copytree(tiny.preferences, folder)
    lines = (folder / "held_out.jsonl").read_text().splitlines(keepends=True)
    few = [line for line in lines if json.loads(line)["head"] == "complete"][:3]
    (folder / "held_out.jsonl").write_text("".join([*few, *(line for line in lines if '"match"' in line)]))
    for unproven, weight in ("drop", 0.0), ("keep", 2.0):
        done = run_component(
            "reward", CONFIG | {"unproven_heads": unproven}, inputs_of(tiny, preferences=folder)
        )
        complete = json.loads((done.outputs["report"] / "report.json").read_text())["heads"]["complete"]
        assert (complete["score"], complete["above_chance"], complete["weight"]) == (1.0, False, weight)
        assert complete["low"] < 0.5


def test_runs_and_resumed_runs_give_the_same_bytes(
    tiny: SimpleNamespace, run_component: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second run, and one interrupted half way and started again, write the files of the first."""
    config = {**CONFIG, "epochs": 2, "checkpoint_every_steps": 5}
    first = run_component("reward", config, inputs_of(tiny))

    class Interrupted(Exception):
        pass

    original = reward.PairBatches.__call__

    def stop_at_step_8(self: reward.PairBatches, step: int) -> dict[str, np.ndarray]:
        if step == 8:
            raise Interrupted
        return original(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(reward.PairBatches, "__call__", stop_at_step_8)
        with pytest.raises(Interrupted):
            run_component("reward", config, inputs_of(tiny), work=tmp_path / "work")
    resumed = run_component("reward", config, inputs_of(tiny), work=tmp_path / "work")
    for port in ("reward", "report"):
        assert files(resumed.outputs[port]) == files(first.outputs[port])


def test_a_step_has_the_configured_rate_and_decay(tiny: SimpleNamespace, run_component: Any) -> None:
    """Adam's first step of the heads, which start at zero, is a quarter of the peak; trunks shrink by the decay alone."""
    settings = {"epochs": 1, "batch_size": 60, "learning_rate": 0.01, "warmup_steps": 4, "weight_decay": 20.0}
    done = run_component(
        "reward", settings | {"unproven_heads": "keep", "log_every_steps": 1}, inputs_of(tiny)
    )
    old, change = first_step(tiny.model, done.outputs["reward"])
    np.testing.assert_allclose(change, -0.01 / 4 * 20 * old, atol=1e-6)
    _, model, heads = model_reward.load(done.outputs["reward"])
    np.testing.assert_allclose(np.abs(model.kernel[...]), 0.01 / 4, rtol=1e-3)
    # Nothing is told from chance after one step, and yet each head keeps its weight.
    assert [head.weight for head in heads] == [1.0, 1.0]
    assert [event["step"] for event in done.events if event.get("name") == "loss" and event["step"]] == [1]


@pytest.mark.parametrize(
    ("rows", "config", "message"),
    [
        ([], {}, "no training pairs"),
        (
            [{"prompt": "a", "chosen": "b", "rejected": "c"}],
            {},
            "train.jsonl:1: got a pair without the text head",
        ),
        ([{"prompt": "a", "chosen": "b", "rejected": "b", "head": "h"}], {}, "are the same"),
        ([{"prompt": "a", "chosen": "b", "rejected": "c", "head": "h"}], {}, "no held-out pairs for h"),
        ([{"prompt": "a", "chosen": "b", "rejected": "c", "head": "match"}], {"weights": {"x": 1}}, "name x"),
    ],
)
def test_bad_pairs_are_named(
    tiny: SimpleNamespace, run_component: Any, tmp_path: Path, rows: list, config: dict, message: str
) -> None:
    """Each mistake in the pairs or the weights ends in a message that says what is wrong."""
    folder = tmp_path / "preferences"
    folder.mkdir()
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "held_out.jsonl").write_bytes((tiny.preferences / "held_out.jsonl").read_bytes())
    with pytest.raises(ComponentError, match=message):
        run_component("reward", config, inputs_of(tiny, preferences=folder))


def test_pairs_end_at_newlines_and_long_ones_are_counted(tiny: SimpleNamespace, tmp_path: Path) -> None:
    """JSON leaves U+2028 unescaped, so it is no line end; a pair over the limit is left out whole."""
    row = {"prompt": "a\u2028b", "chosen": "b", "rejected": "c", "head": "h"}
    (tmp_path / "train.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n\n", encoding="utf-8")
    tokenizer = Tokenizer.load(tiny.tokenizer)
    for limit_tokens, want in ((64, (1, 0)), (4, (0, 1))):
        pairs, too_long = reward.read_pairs(tmp_path / "train.jsonl", tokenizer, limit_tokens)
        assert (len(pairs), too_long) == want
