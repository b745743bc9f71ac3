"""``reward``: a reward model with one head per objective, learnt from preference pairs.

The trunk starts from the model that ``rlhf`` will train, so that it knows the text it judges. Every head
named in the pairs is trained on its own pairs, and its accuracy on held-out pairs (how often the preferred answer
scores higher, 50% by chance) is reported with an interval: a head near 50% would teach the policy noise, so unless
told otherwise a head whose interval reaches down to chance gets weight 0 in the reward, and the report says so.

Measured: a step of 16 pairs of at most 128 tokens on 2.3 M parameters takes 0.3 s on two shared cores, 40% of a
pretraining step of as many tokens, because nothing is unembedded; 2,513 pairs once teach the head ``completeness`` to
99% (96% to 99.7%).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from millrace.components.artifacts import check_vocabulary, read_rows
from millrace.components.contract import ComponentError, Context, Inputs
from millrace.components.reports.curves import final_loss, loss_curve
from millrace.components.reports.files import write_json
from millrace.components.training.fitting import Fitting, optimizer_of
from millrace.data.tokenizer.tokenizer import Tokenizer
from millrace.data.training.epochs import Epochs
from millrace.model.answers.padding import pad_rows, padded_length
from millrace.model.judges import reward
from millrace.model.judges.intervals import wilson
from millrace.model.judges.reward import Head, RewardModel, raw_scores
from millrace.model.package import weights
from millrace.model.training.step import Objective

from .config import RewardConfig

PAIR_KEYS = ("prompt", "chosen", "rejected", "head")
STANDARDISE_PAIRS = 500  # per head; the error of a mean over 1,000 scores is 3% of their deviation


@dataclass(frozen=True)
class Pair:
    """One preference in tokens: both exchanges, and the head that it teaches."""

    chosen: list[int]
    rejected: list[int]
    head: str


def run(context: Context, config: RewardConfig, inputs: Inputs) -> None:
    """Trains the heads and the trunk, measures them on held-out pairs and writes the reward model."""
    tokenizer = Tokenizer.load(inputs.one("tokenizer").path)
    folder = inputs.one("preferences").path
    fitting = Fitting("reward", context, config, [config.batch_size])
    with fitting.in_host_memory():
        model_config, decoder = weights.load(inputs.one("model").path)
    check_vocabulary("reward", {"the model": model_config.vocab_size, "the tokenizer": tokenizer.vocab_size})
    limit_tokens = min(
        config.max_sequence_tokens or model_config.max_sequence_tokens, model_config.max_sequence_tokens
    )
    train, too_long = read_pairs(folder / "train.jsonl", tokenizer, limit_tokens)
    held_out, held_out_too_long = read_pairs(folder / "held_out.jsonl", tokenizer, limit_tokens)
    heads = head_names(train, held_out, config.weights)
    model = reward.RewardModel(decoder, len(heads))
    batches = PairBatches(train, heads, config.batch_size, limit_tokens, context.seed)
    total_steps = max(1, math.ceil(config.epochs * len(train) / config.batch_size))
    context.log.info(
        "%d pairs, %d held out, heads %s, %d steps", len(train), len(held_out), heads, total_steps
    )

    history = fitting.fit(
        model,
        Objective(
            lambda module, batch: (reward.pair_loss(module, batch), {}),
            optimizer_of(config, total_steps),
            on_non_finite=config.on_non_finite,
            most_skipped_steps=config.max_skipped_steps,
        ),
        batches,
        total_steps,
        [fitting.log(["loss"], total_steps)],
        advice=lambda step: "lower it",
    )
    if context.host:
        return  # host 0 measures and writes what all of them trained
    with fitting.alone():
        combined = [
            standardised(
                model, [pair for pair in train if pair.head == name], index, config.weights.get(name, 1.0)
            )
            for index, name in enumerate(heads)
        ]
        report = measure(model, held_out, combined)
    for index, (name, figures) in enumerate(report["heads"].items()):
        figures["above_chance"] = figures["low"] > report["chance"]
        if not figures["above_chance"] and config.unproven_heads == "drop":
            context.log.warning(
                "head %s ranks %.1f%% of the held-out pairs right (at least %.1f%%), no better than chance: weight 0",
                name,
                100 * figures["score"],
                100 * figures["low"],
            )
            combined[index] = replace(combined[index], weight=0.0)
        figures["weight"] = combined[index].weight
        context.metric(f"accuracy_{name}", figures["score"])
    report["pairs"] = {
        "train": len(train),
        "train_too_long": too_long,
        "held_out": len(held_out),
        "held_out_too_long": held_out_too_long,
    }
    report["training"] = {"steps": total_steps, "loss": loss_curve(history)}
    context.metric("accuracy", report["all"]["score"])
    context.metric("loss", final_loss(history))
    reward.save(context.output("reward"), model_config, model, combined)
    facts: dict[str, Any] = {
        "steps": total_steps,
        "pairs": len(train),
        "epochs": config.epochs,
        "final_loss": final_loss(history),
        "learning_rate": config.learning_rate,
    }
    if history.skipped_steps:
        facts["skipped_steps"] = list(history.skipped_steps)
    write_json(context.output("reward") / "training.json", facts)
    write_json(context.output("report") / "report.json", report)


def read_pairs(path: Path, tokenizer: Tokenizer, limit_tokens: int) -> tuple[list[Pair], int]:
    """The pairs of a ``preferences`` file as exchanges in tokens, and how many were too long.

    Too long ones are left out, not cut: without the beginning of its question no answer can be judged.

    Raises:
        ComponentError: A line lacks a key, or both its answers are the same.
    """
    pairs, too_long = [], 0
    for place, row in read_rows("reward", path):
        if missing := [key for key in PAIR_KEYS if not isinstance(row.get(key), str)]:
            raise ComponentError(f"reward: {place}: got a pair without the text {', '.join(missing)}; add it")
        if row["chosen"] == row["rejected"]:
            raise ComponentError(f"reward: {place}: chosen and rejected are the same, expected two answers")
        question = [{"role": "user", "content": row["prompt"]}]
        chosen, rejected = (exchange(tokenizer, question, row[side]) for side in ("chosen", "rejected"))
        if max(len(chosen), len(rejected)) > limit_tokens:
            too_long += 1
        else:
            pairs.append(Pair(chosen, rejected, row["head"]))
    return pairs, too_long


def exchange(tokenizer: Tokenizer, messages: Sequence[Mapping[str, str]], answer: str) -> list[int]:
    """A conversation with its answer as the reward model reads it: always closed by the end token.

    An answer that was cut off is closed too, so that it is judged as the unfinished text it is, on the same kind of
    token as every other.
    """
    return tokenizer.render_chat([*messages, {"role": "assistant", "content": answer}])[0]


def head_names(train: Sequence[Pair], held_out: Sequence[Pair], weights: Mapping[str, float]) -> list[str]:
    """The heads in alphabetical order.

    Raises:
        ComponentError: No pairs, a head that cannot be measured, or a weight for a head that has no pairs.
    """
    if not train:
        raise ComponentError(
            "reward: got no training pairs that fit, expected some; look at the stage that makes them, or set a "
            "larger max_sequence_tokens"
        )
    heads = sorted({pair.head for pair in train})
    if unknown := sorted(set(weights) - set(heads)):
        raise ComponentError(
            f"reward: weights name {', '.join(unknown)}, but the pairs are for {', '.join(heads)}"
        )
    measured = {pair.head for pair in held_out}
    if unmeasured := [name for name in heads if name not in measured]:
        raise ComponentError(
            f"reward: got no held-out pairs for {', '.join(unmeasured)}, so the accuracy cannot be known; hold some out"
        )
    return heads


class PairBatches:
    """Step -> batch as ``model.judges.reward.pair_scores`` takes it, a function of the seed and the step alone.

    All batches have one width, hence one compilation.
    """

    def __init__(
        self, pairs: Sequence[Pair], heads: Sequence[str], batch_size: int, limit_tokens: int, seed: int
    ) -> None:
        sides = [*(pair.chosen for pair in pairs), *(pair.rejected for pair in pairs)]
        lengths = [len(side) for side in sides]
        width = min(padded_length(max(lengths)), limit_tokens)
        self._tokens = pad_rows(sides, len(sides), width).reshape(2, len(pairs), -1)
        self._lengths = np.asarray(lengths, dtype=np.int32).reshape(2, len(pairs))
        self._head = np.asarray([heads.index(pair.head) for pair in pairs], dtype=np.int32)
        self._epochs = Epochs(seed, len(pairs), batch_size)

    def __call__(self, step: int) -> dict[str, np.ndarray]:
        """The arrays of one step."""
        rows = self._epochs.rows(step)
        tokens, lengths = self._tokens[:, rows], self._lengths[:, rows]
        return {
            "tokens": tokens.reshape(-1, tokens.shape[-1]),
            "lengths": lengths.reshape(-1),
            "head": self._head[rows],
        }


def standardised(model: RewardModel, pairs: Sequence[Pair], index: int, weight: float) -> Head:
    """A head with the mean and deviation of its scores on its own training pairs.

    Raises:
        ComponentError: All scores are the same.
    """
    own = pairs[:STANDARDISE_PAIRS]
    scores = _scores(model, own)[:, :, index].astype(float)
    deviation = float(scores.std())
    if not deviation > 0:
        raise ComponentError(
            f"reward: head {own[0].head!r} gives every exchange the same score; train longer (epochs) or drop its pairs"
        )
    return Head(own[0].head, weight, float(scores.mean()), deviation)


def measure(model: RewardModel, pairs: Sequence[Pair], heads: Sequence[Head]) -> dict[str, Any]:
    """Held-out accuracy per head and in all, with 95% Wilson intervals; a tie counts as wrong."""
    scores = _scores(model, pairs)
    names = [head.name for head in heads]
    own = np.asarray([names.index(pair.head) for pair in pairs])
    rows = np.arange(len(pairs))
    margins = scores[0, rows, own] - scores[1, rows, own]
    figures = {}
    for index, head in enumerate(heads):
        mine = margins[own == index]
        figures[head.name] = {
            **wilson(int((mine > 0).sum()), mine.size).as_json(),
            "pairs": int(mine.size),
            "mean_margin": float(mine.mean() / head.deviation),
        }
    everything = wilson(int((margins > 0).sum()), len(pairs))
    return {"heads": figures, "all": {**everything.as_json(), "pairs": len(pairs)}, "chance": 0.5}


def _scores(model: RewardModel, pairs: Sequence[Pair]) -> np.ndarray:
    """Raw scores, float32 [2, pairs, heads], of the preferred and the other exchanges."""
    sides = [*(pair.chosen for pair in pairs), *(pair.rejected for pair in pairs)]
    return raw_scores(model, sides).reshape(2, len(pairs), -1)
