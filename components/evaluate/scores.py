"""Scores each type of benchmark: the prompt, the answer expected, the metric.

- Multiple choice: the choice to which the model gives the highest log probability after the prompt, divided by the
  choice's bytes, because a plain sum prefers whatever is shortest. Bytes and not tokens, so that models with different
  vocabularies compare. The plain sum is reported as well.
- Generation: the greedy answer equals the expected one after normalisation.
- Text: bits per byte, the loss that does not depend on the vocabulary; whole documents are the units of its interval.

A chat model gets the prompt as a user's turn, any other model gets the plain text; a prompt that is too long loses its
beginning, and how often that happened is reported.

References:
    Gao et al., lm-evaluation-harness (acc, acc_norm by bytes, exact_match); Brown et al. 2020, "Language models are
    few-shot learners", section 2.4 (choices by likelihood, normalised by length).
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from millrace.components.contract import ComponentError
from millrace.data.examples.benchmark_files import Benchmark
from millrace.data.tokenizer.tokenizer import Tokenizer
from millrace.model.answers.generate import generate
from millrace.model.answers.score import sequence_log_probs, text_nats, windows
from millrace.model.judges.intervals import bootstrap_ratio, wilson
from millrace.model.network.config import ModelConfig
from millrace.model.network.decoder import Decoder


@dataclass(frozen=True)
class Subject:
    """A model under evaluation.

    Attributes:
        config: Its shape.
        decoder: The model.
        tokenizer: Its tokenizer.
        chat: Whether prompts are put to it as a user's turn.
    """

    config: ModelConfig
    decoder: Decoder
    tokenizer: Tokenizer
    chat: bool

    def prompt(self, text: str, room_tokens: int) -> tuple[list[int], bool]:
        """The tokens before an answer of at most ``room_tokens``, and whether the prompt lost its beginning."""
        if self.chat:
            whole = self.tokenizer.render_chat([{"role": "user", "content": text}], generate=True)[0]
            head = 2  # the boundary and the user's role
        else:
            whole = [self.tokenizer.bos_id, *self.tokenizer.encode(text)]
            head = 1
        room = self.config.max_sequence_tokens - room_tokens
        if len(whole) <= room:
            return whole, False
        return whole[:head] + whole[len(whole) - max(room - head, 1) :], True

    def continuation(self, prompt: str, text: str) -> list[int]:
        """The tokens of an answer after a prompt.

        Between a plain prompt that ends in a word or a sentence and its answer stands a space; after an opening quote
        or a line end nothing does.
        """
        ends_word = bool(prompt) and (prompt[-1].isalnum() or prompt[-1] in ".,;:!?)")
        spaced = ends_word and not self.chat and not text[:1].isspace()
        return self.tokenizer.encode(" " + text if spaced else text)


@dataclass(frozen=True)
class Score:
    """The score of one model on one benchmark.

    Attributes:
        metric: Name of the metric in ``figures``.
        figures: ``score``, ``low`` and ``high``.
        examples: How many examples were used.
        more: Further facts for the report; JSON values.
    """

    metric: str
    figures: Mapping[str, float]
    examples: int
    more: Mapping[str, Any] = field(default_factory=dict)


def multiple_choice(subject: Subject, benchmark: Benchmark) -> Score:
    """Accuracy of the likeliest choice, per byte and plain, with 95% Wilson intervals."""
    limit = subject.config.max_sequence_tokens
    prompts, answers, owner, cut = [], [], [], 0
    for row, example in enumerate(benchmark.examples):
        was_cut = False
        for choice in example["choices"]:
            tokens = subject.continuation(example["prompt"], choice)[: limit // 2]
            prompt, short = subject.prompt(example["prompt"], len(tokens))
            was_cut |= short
            prompts.append(prompt)
            answers.append(tokens)
            owner.append(row)
        cut += was_cut
    totals, _ = sequence_log_probs(subject.decoder, prompts, answers)
    sizes = np.asarray([len(c.encode()) for example in benchmark.examples for c in example["choices"]])
    by_example = np.asarray(owner)
    right = {"accuracy": 0, "accuracy_per_byte": 0}
    for row, example in enumerate(benchmark.examples):
        mine = by_example == row
        right["accuracy"] += int(np.argmax(totals[mine])) == example["answer"]
        right["accuracy_per_byte"] += int(np.argmax(totals[mine] / sizes[mine])) == example["answer"]
    count = len(benchmark.examples)
    chance = sum(1 / len(example["choices"]) for example in benchmark.examples) / count
    return Score(
        "accuracy_per_byte",
        wilson(right["accuracy_per_byte"], count).as_json(),
        count,
        {"chance": chance, "accuracy": wilson(right["accuracy"], count).as_json(), "prompts_cut": cut},
    )


def generation(subject: Subject, benchmark: Benchmark, max_new_tokens: int, seed: int) -> Score:
    """Share of greedy answers that equal the expected one after ``normalised``, with a 95% Wilson interval."""
    if max_new_tokens >= subject.config.max_sequence_tokens // 2:
        raise ComponentError(
            f"evaluate: max_new_tokens is {max_new_tokens}, expected less than half of the model's "
            f"{subject.config.max_sequence_tokens} tokens, so that prompts have room"
        )
    prompts, cut = [], 0
    for example in benchmark.examples:
        prompt, short = subject.prompt(example["prompt"], max_new_tokens)
        prompts.append(prompt)
        cut += short
    samples = generate(
        subject.decoder,
        prompts,
        max_new_tokens=max_new_tokens,
        temperature=0.0,
        seed=seed,
        stop_ids=subject.tokenizer.chat_stop_ids,
        width_tokens=max(map(len, prompts)),  # one shape: compiling another takes longer than padding
    )
    right = 0
    for example, tokens in zip(benchmark.examples, samples.tokens, strict=True):
        text = subject.tokenizer.decode_cut(tokens)
        if not subject.chat and "\n" not in example["answer"].strip():
            text = text.strip().split("\n")[0]  # a plain model does not stop where the answer does
        right += normalised(text) == normalised(example["answer"])
    count = len(benchmark.examples)
    return Score("exact_match", wilson(right, count).as_json(), count, {"prompts_cut": cut})


def bits_per_byte(subject: Subject, benchmark: Benchmark, max_bytes: int, seed: int) -> Score:
    """Bits per byte over all documents and per source, with 95% bootstrap intervals over documents."""
    texts = [beginning(example["text"], max_bytes) for example in benchmark.examples]
    sizes = np.asarray([len(text.encode()) for text in texts], dtype=np.float64)
    rows: list[Sequence[int]] = []
    owners: list[int] = []
    for owner, tokens in enumerate(subject.tokenizer.encode_batch(texts)):
        cut = windows([subject.tokenizer.bos_id, *tokens], subject.config.max_sequence_tokens)
        rows += cut
        owners += [owner] * len(cut)
    bits = np.bincount(owners, text_nats(subject.decoder, rows), len(texts)) / math.log(2)
    sources: dict[str, list[int]] = {}
    for row, example in enumerate(benchmark.examples):
        sources.setdefault(example["source"], []).append(row)
    by_source = {
        source: {**bootstrap_ratio(bits[own], sizes[own], seed=seed).as_json(), "examples": len(own)}
        for source, own in sorted(sources.items())
    }
    total = bootstrap_ratio(bits, sizes, seed=seed)
    return Score(
        "bits_per_byte", total.as_json(), len(sizes), {"sources": by_source, "bytes": int(sizes.sum())}
    )


def beginning(text: str, max_bytes: int) -> str:
    """The first ``max_bytes`` bytes of a text without a broken character at the end."""
    return text.encode()[:max_bytes].decode(errors="ignore")


def normalised(answer: str) -> str:
    """An answer as it is compared: compatibility forms, case, white space and outer punctuation do not count."""
    words = unicodedata.normalize("NFKC", answer).casefold().split()
    return " ".join(words).strip(" .,;:!?\"'`()[]{}")
