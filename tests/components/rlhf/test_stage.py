"""The rlhf stage: it climbs, resumes to the same bytes, notices collapse and says what is wrong."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from tests.small_training import after_pretraining, first_step

from millrace.components.contract import ComponentError
from millrace.components.rlhf import answers
from millrace.model.answers import generate
from millrace.model.losses.policy import Rollouts
from millrace.model.network.decoder import Decoder
from millrace.model.package import weights

CONFIG = {
    "steps": 6,
    "prompts_per_step": 4,
    "samples_per_prompt": 4,
    "learning_rate": 3e-3,
    "max_new_tokens": 8,
    "rule": "text",
    "held_out_prompts": 4,
    "checkpoint_every_steps": 2,
}
MEASURED_BATCHES = 1  # of held-out answers, before the first step


def files(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def inputs(tiny: SimpleNamespace) -> dict[str, Path]:
    """The stage's inputs."""
    return after_pretraining("rlhf", tiny)


def test_reward_rises_and_kl_is_paid(inputs: dict[str, Path], run_component: Any) -> None:
    """Trained for a reward it gets more of it on held-out prompts, starts at zero KL and reports both."""
    config = {**CONFIG, "steps": 25, "beta": 0.01, "min_distinct_share": 0, "learning_rate": 0.02}
    done = run_component("rlhf", config, inputs)
    report = json.loads((done.outputs["report"] / "report.json").read_text())
    assert report["gain"]["reward"]["low"] > 0
    assert done.metrics["reward_after"] > done.metrics["reward_before"]
    assert done.metrics["kl_before"] == pytest.approx(0, abs=1e-5)
    assert done.metrics["kl_after"] > 0.1
    assert len(report["curves"]["kl"]) == 25
    assert "| reward |" in (done.outputs["report"] / "report.md").read_text()


def test_a_dearer_divergence_leaves_the_policy_closer(inputs: dict[str, Path], run_component: Any) -> None:
    """The same draws and rate; the price of a nat is all that differs."""
    config = {**CONFIG, "steps": 20, "min_distinct_share": 0, "learning_rate": 0.02}
    near, far = (
        run_component("rlhf", {**config, "beta": beta}, inputs).metrics["kl_after"] for beta in (10.0, 0.0)
    )
    assert 0 < near < far / 2


def script(inputs: dict[str, Path], base: Path, kill_at: int) -> str:
    """A program that runs the stage into ``base`` and kills itself at a step."""
    paths = {port: str(path) for port, path in inputs.items()}
    return f"""
import logging, os, signal, time
from pathlib import Path
from millrace.components.rlhf import stage as rlhf
from millrace.model.states import integrity
from millrace.components.contract import Artifact, Inputs
from millrace.pipelines.stages.context import StageContext

def emit(event):
    if event["event"] == "metric" and event["step"] == {kill_at}:
        # The checkpoint of the step before is written in the background.
        while not (base / "work" / "checkpoints" / str({kill_at} - 1) / integrity.FILE).exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)

base = Path({str(base)!r})
outputs = {{port: base / port for port in ("model", "report")}}
for folder in outputs.values():
    folder.mkdir(exist_ok=True)
context = StageContext(seed=0, work=base / "work", outputs=outputs, emit=emit, log=logging.getLogger())
inputs = {{port: Artifact(Path(path), "", "", port) for port, path in {paths!r}.items()}}
rlhf.run(context, rlhf.RlhfConfig.model_validate({CONFIG!r}), Inputs(inputs))
"""


def test_a_killed_run_resumes_to_the_same_bytes(
    inputs: dict[str, Path], run_component: Any, tmp_path: Path
) -> None:
    """kill -9 after step 3, then again from the checkpoint of step 2: the files are those of an undisturbed run."""
    killed = subprocess.run([sys.executable, "-c", script(inputs, tmp_path, kill_at=3)], check=False)
    assert killed.returncode == -signal.SIGKILL
    undisturbed = run_component("rlhf", CONFIG, inputs)
    resumed = run_component("rlhf", CONFIG, inputs, work=tmp_path / "work")
    assert not any(event.get("step") == 2 for event in resumed.events)
    for port in ("model", "report"):
        assert files(resumed.outputs[port]) == files(undisturbed.outputs[port])


def test_settings_are_those_of_its_draws_and_its_step(
    inputs: dict[str, Path], run_component: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So many prompts and answers before, in the step and after; Adam's first step is a quarter of the peak rate."""
    asked, original = [], answers.Sampler.answers

    def noted(self: answers.Sampler, policy: Decoder, prompts: list, samples: int, stream: int) -> Rollouts:
        asked.append((len(prompts), samples))
        drawn = original(self, policy, prompts, samples, stream)
        assert max(map(len, drawn.answers)) <= 6
        return drawn

    monkeypatch.setattr(answers.Sampler, "answers", noted)
    settings = {"steps": 1, "prompts_per_step": 5, "samples_per_prompt": 3, "max_new_tokens": 6}
    held_out = {"held_out_prompts": 3, "held_out_samples": 4, "min_distinct_share": 0, "rule_weight": 0.0}
    rate = {"learning_rate": 0.01, "warmup_steps": 4}
    done = run_component("rlhf", CONFIG | settings | held_out | rate, inputs)
    assert asked == [(3, 4), (5, 3), (3, 4)]
    _, change = first_step(inputs["policy"], done.outputs["model"])
    assert np.abs(change).max() == pytest.approx(0.01 / 4, rel=1e-2)
    figures = json.loads((done.outputs["report"] / "report.json").read_text())["after"]
    assert figures["reward"] == figures["head_match"]


def test_asked_to_end_it_saves_between_two_steps_and_goes_on_to_the_same_bytes(
    inputs: dict[str, Path], run_component: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM comes while the answers of the fourth step are judged; the files are those of an undisturbed run."""
    score, calls = answers.Judge.score, []

    def asked(self: answers.Judge, rollouts: Rollouts) -> dict[str, np.ndarray]:
        calls.append(rollouts)
        if len(calls) == MEASURED_BATCHES + 4:
            signal.raise_signal(signal.SIGTERM)
        return score(self, rollouts)

    config = CONFIG | {"checkpoint_every_steps": 100}
    with monkeypatch.context() as patch:
        patch.setattr(answers.Judge, "score", asked)
        with pytest.raises(ComponentError, match=r"rlhf: .*stopped after 4 of \d+ steps; the state is saved"):
            run_component("rlhf", config, inputs, work=tmp_path / "work")
    undisturbed = run_component("rlhf", config, inputs)
    resumed = run_component("rlhf", config, inputs, work=tmp_path / "work")
    assert min(event["step"] for event in resumed.events if event.get("step") is not None) == 5
    for port in ("model", "report"):
        assert files(resumed.outputs[port]) == files(undisturbed.outputs[port])


def test_a_reward_that_is_not_finite_stops_it_or_is_left_out(
    inputs: dict[str, Path], run_component: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default an error names the step; with ``skip`` the report does, and stays JSON that every reader takes."""
    score, calls = answers.Judge.score, []

    def broken(self: answers.Judge, rollouts: Rollouts) -> dict[str, np.ndarray]:
        calls.append(rollouts)
        found = score(self, rollouts)
        return found | ({"reward": found["reward"] * np.nan} if len(calls) == MEASURED_BATCHES + 2 else {})

    monkeypatch.setattr(answers.Judge, "score", broken)
    with pytest.raises(ComponentError, match=r"rlhf: the loss of step 1 is not finite.*set a higher beta"):
        run_component("rlhf", CONFIG, inputs)
    calls.clear()
    done = run_component("rlhf", CONFIG | {"on_non_finite": "skip"}, inputs)
    text = (done.outputs["report"] / "report.json").read_text()
    assert "NaN" not in text
    assert json.loads(text)["curves"]["reward"][1] is None
    assert json.loads((done.outputs["model"] / "training.json").read_text())["skipped_steps"] == [1]


def test_collapse_is_an_error(
    inputs: dict[str, Path], run_component: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a trained policy gives one answer to everything, the stage fails and shows that answer."""
    original = generate.generate

    def one_answer_after_training(policy: Decoder, prompts: list, **settings: Any) -> generate.Samples:
        samples = original(policy, prompts, **settings)
        if trained(policy):
            samples.tokens[:] = [samples.tokens[0]] * len(prompts)
        return samples

    _, start = weights.load(inputs["policy"])

    def trained(policy: Decoder) -> bool:
        one, other = (np.asarray(module.embedding[...]) for module in (policy, start))
        return not np.array_equal(one, other)

    monkeypatch.setattr(answers, "generate", one_answer_after_training)
    with pytest.raises(ComponentError, match="the policy collapsed"):
        run_component("rlhf", {**CONFIG, "steps": 1, "min_distinct_share": 0.2}, inputs)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"max_new_tokens": 60}, "leaves 3 of 63 tokens"),
        ({"max_prompt_tokens": 8}, "no usable prompt from train.jsonl"),
    ],
)
def test_settings_that_cannot_work_are_named(
    inputs: dict[str, Path], run_component: Any, config: dict, message: str
) -> None:
    """Each mistake ends in a message that says what to change."""
    with pytest.raises(ComponentError, match=message):
        run_component("rlhf", {**CONFIG, **config}, inputs)


def test_answers_that_the_devices_do_not_divide_are_refused(
    inputs: dict[str, Path], run_component: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the settings whose product they are."""
    monkeypatch.setattr(jax, "device_count", lambda: 8)
    with pytest.raises(
        ComponentError, match=r"of 12 rows .* prompts_per_step times samples_per_prompt to 16"
    ):
        run_component("rlhf", CONFIG | {"prompts_per_step": 3}, inputs)
