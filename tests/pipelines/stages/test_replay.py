"""A run of a tiny pretraining: replayed it is the same bits, a flipped bit is found, a signal costs no step."""

from __future__ import annotations

import json
import random
import re
import signal
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
import pytest
from tests.sandbox import Sandbox, found, wait_until
from typer.testing import CliRunner

from millrace.components.contract import ComponentError
from millrace.components.training import fitting
from millrace.pipelines.cli import app
from millrace.pipelines.store.store import Store

SHAPE = {"layers": 1, "model_size": 16, "heads": 1, "kv_heads": 1, "head_size": 16, "feed_forward_size": 16}
PHASE = {"until_tokens": 8 * 32 * 23, "sequence_length_tokens": 32, "weights": {"mine": 1}}
PRETRAIN = {
    "model": SHAPE,
    "phases": [PHASE],
    "max_epochs": 100,
    "warmup_steps": 2,
    "digest_every_steps": 5,
    "keep_state_every_steps": 8,
}
STAGES: dict[str, Any] = {
    "ingest": {"uses": "ingest", "with": {"sources": {"mine": {"type": "files", "paths": "*.jsonl"}}}},
    "vocabulary": {"uses": "train_tokenizer", "inputs": {"documents": "ingest.documents"}, "with": {"vocab_size": 300}},
    "tokenize": {"uses": "tokenize", "inputs": {"documents": "ingest.documents", "tokenizer": "vocabulary.tokenizer"}},
    "pretrain": {
        "uses": "pretrain",
        "inputs": {"tokens": "tokenize.tokens", "tokenizer": "vocabulary.tokenizer"},
        "with": PRETRAIN,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """A project whose pipeline has run."""
    sandbox = Sandbox(tmp_path_factory.mktemp("replay"), STAGES)
    chance = random.Random(0)
    words = ["the", "of", "and", "to", "in", "that", "with", "have", "be", "for", "data", "model"]
    rows = [json.dumps({"text": " ".join(chance.choices(words, k=60))}) for _ in range(60)]
    (sandbox.folder / "part.jsonl").write_text("\n".join(rows))
    sandbox.run()
    return sandbox


def replayed(sandbox: Sandbox, *words: str) -> tuple[int, Any]:
    """Exit code and answer of ``millrace replay`` in this process."""
    spec = str(sandbox.folder / "pipeline.yaml")
    result = CliRunner().invoke(app, ["replay", "pretrain", spec, "--json", *words])
    return result.exit_code, json.loads(result.stdout) if result.stdout.startswith("{") else result


@pytest.fixture
def flipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """One bit of one gradient is another one at step 11, as a faulty processor might make it."""
    make = fitting.make_optimizer

    def flipped(gradients: Any, step: jax.Array) -> Any:
        leaves, tree = jax.tree.flatten(gradients)
        bits = jax.lax.bitcast_convert_type(leaves[0], jnp.uint32)
        other = bits.reshape(-1).at[0].set(bits.reshape(-1)[0] ^ (1 << 22)).reshape(bits.shape)
        leaves[0] = jnp.where(step == 11, jax.lax.bitcast_convert_type(other, jnp.float32), leaves[0])
        return jax.tree.unflatten(tree, leaves)

    def make_wrong(*given: Any, **named: Any) -> optax.GradientTransformation:
        sound = make(*given, **named)

        def update(updates: Any, state: Any, params: Any = None) -> Any:
            step = optax.tree.get_all_with_path(state, "count")[0][1]
            return sound.update(flipped(updates, step), state, params)

        return optax.GradientTransformation(sound.init, update)

    monkeypatch.setattr(fitting, "make_optimizer", make_wrong)


def test_a_replay_is_the_same_bits(trained: Sandbox) -> None:
    """Every step, and a range of them that ends between two digests."""
    code, answer = replayed(trained)
    assert (code, answer["equal"], answer["first_step"], answer["end_step"]) == (0, True, 0, 23)
    assert answer["difference"] is None
    assert answer["versions"] == {}
    assert answer["code"] == []
    answer = replayed(trained, "--steps", "6:13")[1]
    assert (answer["equal"], answer["first_step"], answer["end_step"]) == (True, 6, 13)


@pytest.mark.parametrize(("steps", "begun_with"), [("7:9", 0), ("8:13", 8), ("15:23", 8), ("18:", 16)])
def test_a_replay_begins_with_the_newest_kept_state(trained: Sandbox, steps: str, begun_with: int) -> None:
    """Not with one behind the first step that is compared."""
    answer = replayed(trained, "--steps", steps)[1]
    assert (answer["equal"], answer["begun_with"]) == (True, begun_with)


@pytest.mark.usefixtures("flipped")
def test_a_flipped_bit_is_found_and_its_step_is_named(trained: Sandbox) -> None:
    """The update of step 11 went wrong, so 12 is the first with another loss; what ends before has no difference."""
    code, answer = replayed(trained)
    assert (code, answer["equal"]) == (1, False)
    difference = answer["difference"]
    assert (difference["step"], difference["parameters_equal_after_step"]) == (12, 9)
    assert "gradient_norm" in difference["fields"]
    assert "batch" not in difference["fields"]
    assert replayed(trained, "--steps", ":12")[0] == 0
    assert "parameters" in replayed(trained, "--steps", "14:15")[1]["difference"]["fields"]
    assert replayed(trained, "--steps", "17:20")[0] == 0  # begun with step 16, which the flip does not reach


def test_a_state_that_the_code_of_now_does_not_fit_is_said(
    trained: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another optimizer has other moments; from step 0 the difference itself is found."""
    monkeypatch.setattr(fitting, "make_optimizer", lambda *given, **named: optax.sgd(0.1, momentum=0.9))
    code, result = replayed(trained, "--steps", "9:12")
    assert code == 1
    assert "the state that the training kept does not fit the code that trains now" in str(result.exception)
    assert replayed(trained, "--steps", "2:5")[1]["difference"]["step"] == 2


def test_another_number_of_devices_is_said(trained: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bits would differ, and nobody would know why."""
    monkeypatch.setattr(jax, "device_count", lambda: 4)
    with pytest.raises(ComponentError, match="got a training on 1 devices and 4 here"):
        CliRunner().invoke(
            app, ["replay", "pretrain", str(trained.folder / "pipeline.yaml")], catch_exceptions=False
        )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("pretrain", "--steps", "23:"), "expected some of the recorded (steps from 0 to 22)"),
        (("pretrian",), "did you mean"),
        (("tokenize",), "expected one of pretrain"),
    ],
)
def test_what_cannot_be_replayed_is_said(trained: Sandbox, words: tuple[str, ...], message: str) -> None:
    """Steps that were not made, a stage that is not there, a stage that does not train."""
    done = trained.call("replay", *words[:1], "pipeline.yaml", *words[1:])
    assert done.returncode == 1
    assert message in done.stderr


def trains(store: Path, earlier: set[Path]) -> bool:
    """Whether a run that is not among the earlier ones has told the goodput of a training."""
    return any(
        '"goodput"' in file.read_text() for file in set(found(store / "runs", "events.jsonl")) - earlier
    )


def test_a_run_that_is_asked_to_end_saves_the_step_and_goes_on_from_it(trained: Sandbox) -> None:
    """A scheduler's SIGTERM: the run tells the step, though no checkpoint was due there, and the next goes on from it."""
    phases = [PHASE | {"until_tokens": 8 * 32 * 1000}]
    settings = {"phases": json.dumps(phases), "max_epochs": 9999, "log_every_steps": 1}
    arguments = [
        word for name, value in settings.items() for word in ("--set", f"stages.pretrain.with.{name}={value}")
    ]
    once = "--set", "stages.pretrain.with.checkpoint_every_steps=100000"
    earlier = set(found(trained.store / "runs", "events.jsonl"))
    with trained.started("run", *arguments, *once) as process:
        wait_until(lambda: trains(trained.store, earlier), 90)
        process.send_signal(signal.SIGTERM)
        output = process.communicate(timeout=60)
    assert process.returncode == 130, output
    store = Store(str(trained.store))
    state = store.read_run(store.run_ids()[-1])
    assert state is not None
    message = state["stages"]["pretrain"]["message"]
    assert "the state is saved, run again to go on from there" in message
    (done,) = re.findall(r"stopped after (\d+) of 1000 steps", message)
    trained.run(*arguments)
    log = trained.store / "runs" / store.run_ids()[-1] / "logs" / "pretrain.log"
    assert f"going on after {done} of 1000 steps" in log.read_text()
