"""The sft stage: answers are learnt, prompts are not, and what was cut is counted."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.small_training import first_step

from millrace.components.contract import ComponentError
from millrace.components.sft.stage import Chats, PackedBatches, SftConfig, measurement, read_chats
from millrace.data.tokenizer.tokenizer import Tokenizer
from millrace.model.network import decoder
from millrace.model.package import weights

CONFIG = {
    "epochs": 10,
    "batch_size": 4,
    "learning_rate": 0.01,
    "checkpoint_every_steps": 7,
    "log_every_steps": 4,
}


def inputs_of(tiny: SimpleNamespace, **changes: Path) -> dict[str, Path]:
    return {"model": tiny.model, "tokenizer": tiny.tokenizer, "chats": tiny.chats} | changes


def chats(folder: Path, messages: list[list[dict[str, str]]]) -> Path:
    folder.mkdir()
    lines = "".join(json.dumps({"id": str(i), "messages": m}) + "\n" for i, m in enumerate(messages))
    (folder / "train.jsonl").write_text(lines)
    (folder / "held_out.jsonl").write_text(lines)
    return folder


def say(prompt: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


def test_held_out_answers_become_likelier(run_component: Any, tiny: SimpleNamespace, tmp_path: Path) -> None:
    """Loss on held-out answers falls, and a run that starts again from its checkpoints gives the same bytes."""
    done = run_component("sft", CONFIG, inputs_of(tiny), work=tmp_path / "work")
    again = run_component("sft", CONFIG, inputs_of(tiny), work=tmp_path / "work")
    assert done.metrics["held_out_loss"] < 0.5 * done.metrics["held_out_loss_before"]
    report = json.loads((done.outputs["report"] / "report.json").read_text())
    live = [event["step"] for event in done.events if event.get("name") == "loss" and event["step"]]
    assert live == [*range(4, report["steps"], 4), report["steps"]]
    assert report["held_out"]["held_out_loss"][-1] == done.metrics["held_out_loss"]
    assert report["train"]["chats"] == 30
    for port, name in (("model", "weights.safetensors"), ("report", "report.json")):
        assert (done.outputs[port] / name).read_bytes() == (again.outputs[port] / name).read_bytes()


def test_a_step_has_the_configured_rate_decay_and_clip(run_component: Any, tiny: SimpleNamespace) -> None:
    """Clipped far below Adam's epsilon, gradients leave a first step of decay alone, at a quarter of the peak rate."""
    settings = {"epochs": 1, "batch_size": 16, "learning_rate": 0.01, "warmup_steps": 4}
    done = run_component("sft", settings | {"weight_decay": 20.0, "clip_norm": 1e-9}, inputs_of(tiny))
    old, change = first_step(tiny.model, done.outputs["model"])
    # A gradient of 1e-9 in all is a tenth of the epsilon.
    assert np.linalg.norm(change / (0.01 / 4) + 20 * old) < 0.11


def test_the_rate_falls_as_configured(run_component: Any, tiny: SimpleNamespace) -> None:
    """With weight decay alone, weights shrink by the product over the steps, which their rates alone decide."""
    settings = {"epochs": 2, "batch_size": 4, "learning_rate": 0.01, "warmup_steps": 0}
    settings |= {"weight_decay": 5.0, "clip_norm": 1e-9}
    left = {}
    for decay in ("cosine", "stable"):
        done = run_component("sft", settings | {"decay": decay}, inputs_of(tiny))
        old, change = first_step(tiny.model, done.outputs["model"])
        left[decay] = 1 + float(old @ change / (old @ old))
    # Cosine spends half of the peak's area; stable keeps the peak until it falls.
    assert left["stable"] ** 0.75 < left["cosine"] < 1


def test_as_many_held_out_chats_are_measured_as_asked(tiny: SimpleNamespace) -> None:
    """Two of six are the first and the fourth, spread over the file."""
    held_out = read_chats(tiny.chats / "held_out.jsonl", Tokenizer.load(tiny.tokenizer), 65)
    _, model = weights.load(tiny.model)

    def nats(of: Chats) -> list[float]:
        evaluation = measurement(of, SftConfig(held_out_chats=2, evaluate_every_steps=7))
        assert evaluation is not None
        assert evaluation.every_steps == 7
        return list(evaluation.measure(model))

    assert nats(held_out) == nats(replace(held_out, examples=held_out.examples[::3]))
    assert nats(held_out) != nats(replace(held_out, examples=held_out.examples[:2]))


def test_routers_are_kept_even_and_small(run_component: Any, tiny: SimpleNamespace, tmp_path: Path) -> None:
    """The first loss of a model with experts grows by each of its router's losses times the weight."""
    folder = tmp_path / "sparse"
    shutil.copytree(tiny.model, folder)
    config = replace(weights.load_config(tiny.model), experts=4, feed_forward_size=32)
    weights.save(folder, config, decoder.create(config, 0))

    def first_loss(balance: float, z: float) -> float:
        settings = CONFIG | {"epochs": 0.5, "router_balance_loss": balance, "router_z_loss": z}
        done = run_component("sft", settings, inputs_of(tiny, model=folder))
        report = json.loads((done.outputs["report"] / "report.json").read_text())
        return float(report["loss"][0]["loss"])

    # The balance loss is at least one, which is that of even routers (Fedus et al. 2021, arXiv 2101.03961), and a
    # router of small logits has a log-normaliser of at least ln 4.
    free = first_loss(0.0, 0.0)
    assert first_loss(2.0, 0.0) - free >= 2.0 - 1e-3
    assert first_loss(0.0, 2.0) - free >= 2.0 * np.log(4) ** 2 - 1e-3


def test_only_answers_are_learnt(tiny: SimpleNamespace) -> None:
    """The learnt tokens of all batches of one epoch are every answer with its end token, once."""
    tokenizer = Tokenizer.load(tiny.tokenizer)
    train = read_chats(tiny.chats / "train.jsonl", tokenizer, 65)
    batches = PackedBatches(train.examples, SftConfig(epochs=1, batch_size=4), 65, 0, tokenizer.pad_id)
    learnt: list[str] = []
    for step in range(batches.steps):
        batch = batches(step)
        text = tokenizer.decode(batch["tokens"][batch["learn"]].tolist())
        learnt += [part + "." for part in text.split(".") if part.strip()]
        assert set(batch["tokens"][batch["segments"] == 0].tolist()) <= {tokenizer.pad_id}
    rows = [json.loads(line) for line in (tiny.chats / "train.jsonl").read_text().splitlines()]
    assert sorted(part.strip() for part in learnt) == sorted(row["messages"][1]["content"] for row in rows)


def test_long_chats_lose_the_beginning_of_their_prompt(tiny: SimpleNamespace, tmp_path: Path) -> None:
    """A cut chat keeps its first role and its whole answer; cut answers and chats without one are counted."""
    tokenizer = Tokenizer.load(tiny.tokenizer)
    folder = chats(
        tmp_path / "long",
        [say("count " * 80, "Return the path."), say("short", "name " * 80), say("x", "y")[:1]],
    )
    found = read_chats(folder / "train.jsonl", tokenizer, 33)
    (ids, answer), (cut_ids, cut_answer) = found.examples
    assert (found.read, found.cut, found.answers_cut, found.without_answer) == (3, 2, 1, 1)
    assert len(ids) == len(cut_ids) == 33
    assert ids[:2] == [tokenizer.bos_id, tokenizer.special["<|user|>"]]
    assert tokenizer.decode([t for t, a in zip(ids, answer, strict=True) if a]).strip() == "Return the path."
    assert cut_ids[-1] == tokenizer.special["<|end|>"]
    assert cut_answer[-1]


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([say("x", "name " * 200)], "every answer is longer than the 64 tokens"),
        ([say("x", "y")[:1]], "no chat with an answer"),
        ([[{"role": "robot", "content": "x"}]], "train.jsonl:1: .*'robot'"),
    ],
)
def test_chats_that_teach_nothing_are_refused(
    run_component: Any, tiny: SimpleNamespace, tmp_path: Path, messages: Any, message: str
) -> None:
    """Only cut answers, no answers, and lines that are no chats each stop the stage with what to do."""
    with pytest.raises(ComponentError, match=message):
        run_component("sft", CONFIG, inputs_of(tiny, chats=chats(tmp_path / "bad", messages)))
