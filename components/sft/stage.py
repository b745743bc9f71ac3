"""``sft``: supervised fine-tuning on chats, with the loss on answers only.

Chats are packed several to a row without seeing each other (see ``data.training.packing``), in a new order every epoch. A chat
that is too long loses the beginning of its prompt, never the end of its answer, because the end teaches the model to
stop; how many were cut is in the report.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
from millrace.data.training.packing import fill, pack
from millrace.model.answers.score import row_log_probs
from millrace.model.losses.next_token import NextTokenLoss
from millrace.model.package import weights
from millrace.model.training.hooks import Evaluation, Hook
from millrace.model.training.step import Objective

from .config import SftConfig

HEAD_TOKENS = 2  # the boundary token and the first role, which a cut chat keeps


@dataclass(frozen=True)
class Chats:
    """Chats as tokens.

    Attributes:
        examples: Ids of each chat, and which of them are an answer's.
        read: Chats in the file.
        cut: Chats that lost tokens for their length.
        answers_cut: Those among them that lost tokens of an answer.
        without_answer: Chats left out because no assistant speaks in them.
    """

    examples: list[tuple[list[int], list[bool]]]
    read: int
    cut: int
    answers_cut: int
    without_answer: int

    def counts(self) -> dict[str, int]:
        """The counts, for the report."""
        return {
            "chats": self.read,
            "cut": self.cut,
            "answers_cut": self.answers_cut,
            "without_answer": self.without_answer,
            "tokens": sum(len(ids) for ids, _ in self.examples),
            "answer_tokens": sum(sum(answer) for _, answer in self.examples),
        }


def run(context: Context, config: SftConfig, inputs: Inputs) -> None:
    """Trains on the chats and writes the model and its report."""
    shape = weights.load_config(inputs.one("model").path)
    tokenizer = Tokenizer.load(inputs.one("tokenizer").path)
    check_vocabulary("sft", {"the model": shape.vocab_size, "the tokenizer": tokenizer.vocab_size})
    limit = min(config.max_sequence_tokens or shape.max_sequence_tokens, shape.max_sequence_tokens)
    folder = inputs.one("chats").path
    train = read_chats(folder / "train.jsonl", tokenizer, limit + 1)
    held_out = read_chats(folder / "held_out.jsonl", tokenizer, limit + 1)
    if not train.examples:
        raise ComponentError(
            "sft: got no chat with an answer to train on, expected some; see the chats' stage"
        )
    if train.answers_cut == len(train.examples):
        raise ComponentError(
            f"sft: every answer is longer than the {limit} tokens of a row; raise max_sequence_tokens (the model's "
            f"longest is {shape.max_sequence_tokens}) or give shorter answers"
        )
    batches = PackedBatches(train.examples, config, limit + 1, context.seed, tokenizer.pad_id)
    context.log.info("%s, %d steps, %.0f%% padding", train.counts(), batches.steps, 100 * batches.padding)

    fitting = Fitting("sft", context, config, [config.batch_size])
    with fitting.in_host_memory():
        _, decoder = weights.load(inputs.one("model").path)
    hooks: list[Hook] = [fitting.log(["loss"], batches.steps)]
    if evaluation := measurement(held_out, config, fitting.report):
        hooks.append(evaluation)
    loss = NextTokenLoss(router_balance_loss=config.router_balance_loss, router_z_loss=config.router_z_loss)
    history = fitting.fit(
        decoder,
        Objective(
            loss,
            optimizer_of(config, batches.steps),
            on_non_finite=config.on_non_finite,
            most_skipped_steps=config.max_skipped_steps,
        ),
        batches,
        batches.steps,
        hooks,
        advice=lambda step: "lower it",
    )
    if context.host:
        return  # host 0 writes what all of them trained

    facts: dict[str, Any] = {
        "steps": batches.steps,
        "epochs": config.epochs,
        "final_loss": final_loss(history),
        "train": train.counts(),
        "tokenizer_sha256": tokenizer.sha256,
    }
    if history.skipped_steps:
        facts["skipped_steps"] = list(history.skipped_steps)
    measured = {name: [round(float(v), 6) for v in values] for name, values in history.evaluations.items()}
    report = facts | {
        "held_out": held_out.counts() | {"steps": list(history.evaluation_steps)} | measured,
        "padding_share": round(batches.padding, 4),
        "loss": loss_curve(history),
    }
    weights.save(context.output("model"), shape, decoder)
    write_json(context.output("model") / "training.json", facts)
    write_json(context.output("report") / "report.json", report)
    context.metric("loss", facts["final_loss"])
    context.metric("documents_in", train.read)
    context.metric("tokens_in", train.counts()["tokens"])
    context.metric("chats_cut", train.cut)
    if measured:
        context.metric("held_out_loss_before", measured["held_out_loss"][0])
        context.metric("held_out_loss", measured["held_out_loss"][-1])


def read_chats(path: Path, tokenizer: Tokenizer, row_tokens: int) -> Chats:
    """The chats of a file as tokens that fit into a row.

    Raises:
        ComponentError: A line is not a chat.
    """
    examples = []
    read = cut = answers_cut = without_answer = 0
    for place, row in read_rows("sft", path):
        read += 1
        try:
            ids, answer = tokenizer.render_chat(row["messages"])
        except (ValueError, KeyError, TypeError) as error:
            raise ComponentError(
                f'sft: {place}: got {error!r}, expected {{"messages": [{{"role", "content"}}, ...]}}'
            ) from error
        if not any(answer):
            without_answer += 1
            continue
        if (over := len(ids) - row_tokens) > 0:
            cut += 1
            answers_cut += any(answer[HEAD_TOKENS : HEAD_TOKENS + over])
            ids = ids[:HEAD_TOKENS] + ids[HEAD_TOKENS + over :]
            answer = answer[:HEAD_TOKENS] + answer[HEAD_TOKENS + over :]
        examples.append((ids, answer))
    return Chats(examples, read, cut, answers_cut, without_answer)


class PackedBatches:
    """The batch of every step, planned at the start: chats permuted in each epoch, then packed into rows.

    Attributes:
        steps: Number of steps.
        padding: Share of padding in the batches.
    """

    def __init__(
        self,
        examples: Sequence[tuple[list[int], list[bool]]],
        config: SftConfig,
        row_tokens: int,
        seed: int,
        pad_id: int,
    ) -> None:
        self._examples, self._row_tokens, self._pad_id = examples, row_tokens, pad_id
        self._batch_size = config.batch_size
        lengths = [len(ids) for ids, _ in examples]
        order = Epochs(seed, len(examples), 1)
        draws = max(round(config.epochs * len(examples)), 1)
        self._rows: list[list[int]] = []
        for start in range(0, draws, len(examples)):
            epoch = [int(order.rows(draw)[0]) for draw in range(start, min(start + len(examples), draws))]
            self._rows += pack(lengths, epoch, row_tokens)
        self.steps = -(-len(self._rows) // config.batch_size)
        filled = sum(lengths[index] for row in self._rows for index in row)
        self.padding = 1 - filled / (self.steps * config.batch_size * row_tokens)

    def __call__(self, step: int) -> dict[str, np.ndarray]:
        """The arrays of a step; see ``data.training.packing.fill``."""
        rows = self._rows[step * self._batch_size : (step + 1) * self._batch_size]
        return fill(self._examples, rows, self._batch_size, self._row_tokens, self._pad_id)


def measurement(
    held_out: Chats, config: SftConfig, tell: Callable[[int, Mapping[str, float]], None] | None = None
) -> Evaluation | None:
    """Held-out nats per answer token, over chats spread evenly over the file; None without any."""
    stride = max(len(held_out.examples) // config.held_out_chats, 1)
    chosen = held_out.examples[::stride][: config.held_out_chats]
    if not chosen:
        return None

    def measure(decoder: Any) -> list[float]:
        scored = row_log_probs(decoder, [ids for ids, _ in chosen])
        nats = sum(
            -float(values[learn].sum(dtype=float))
            for values, learn in zip(scored, (answer_mask(answer) for _, answer in chosen), strict=True)
        )
        return [nats / sum(sum(answer[1:]) for _, answer in chosen)]

    return Evaluation(["held_out_loss"], measure, config.evaluate_every_steps, tell)


def answer_mask(answer: Sequence[bool]) -> np.ndarray:
    """Whether each predicted token (all but the first of a row) belongs to an answer."""
    return np.asarray(answer[1:], bool)
