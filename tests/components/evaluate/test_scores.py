"""Scores that can be counted by hand, for each type of benchmark."""

import math
from collections.abc import Sequence
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from tests.components.evaluate.examples import ANSWERS, CHOICES

from millrace.components.evaluate import scores
from millrace.components.evaluate.scores import Subject
from millrace.data.examples.benchmark_files import Benchmark
from millrace.data.tokenizer.tokenizer import Tokenizer
from millrace.model.answers import generate
from millrace.model.package import weights


@pytest.fixture
def subject(tiny: SimpleNamespace) -> Subject:
    """The tiny model as a plain one."""
    config, decoder = weights.load(tiny.model)
    return Subject(config, decoder, Tokenizer.load(tiny.tokenizer), chat=False)


def test_choices_are_ranked_by_likelihood_per_byte(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """With likelihoods planted, plain accuracy and accuracy per byte are those counted by hand."""
    # Per byte: -1 for the right choice, -2 for others; in all, the one-byte choice "x" wins wherever it stands.
    planted = []
    for example in CHOICES:
        for index, choice in enumerate(example["choices"]):
            planted.append(-(1.0 if index == example["answer"] else 2.0) * len(choice))
    monkeypatch.setattr(scores, "sequence_log_probs", lambda *_: (np.asarray(planted), None))
    got = scores.multiple_choice(subject, Benchmark("mc", "multiple_choice", CHOICES))
    assert got.figures["score"] == 1.0
    assert got.more["accuracy"]["score"] == pytest.approx(1 / 3)


def test_exact_match_counts_normalised_answers(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Case, white space and outer punctuation do not count, and a plain model's later lines are cut off."""
    texts = ["the  COUNT\nmore", " The count. ", "the value", "count"]

    def generated(_: object, prompts: Sequence[object], **settings: object) -> generate.Samples:
        assert settings["temperature"] == 0
        tokens = [subject.tokenizer.encode(text) for text in texts]
        return generate.Samples(tokens, [[]] * len(tokens), [True] * len(tokens))

    monkeypatch.setattr(scores, "generate", generated)
    got = scores.generation(subject, Benchmark("gen", "generation", ANSWERS), 8, seed=0)
    assert got.figures["score"] == 0.5


def test_bits_per_byte_is_the_definition(subject: Subject) -> None:
    """Token by token, the sum of -log2 p over bytes, with the boundary token before each window's first document."""
    text = "Return the count"
    tokens = [subject.tokenizer.bos_id, *subject.tokenizer.encode(text)]
    logits = np.asarray(subject.decoder(jnp.asarray([tokens], jnp.int32)), dtype=np.float64)[0]
    log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    nats = -sum(log_probs[index, token] for index, token in enumerate(tokens[1:]))
    benchmark = Benchmark("t", "text", [{"id": "a", "text": text + "\u00e9" * 9, "source": "s"}])
    got = scores.bits_per_byte(subject, benchmark, len(text) + 1, seed=0)
    assert got.more["bytes"] == len(text)
    assert got.figures["score"] == pytest.approx(nats / math.log(2) / len(text), rel=1e-5)


@pytest.mark.parametrize(
    ("prompt", "answer", "want"),
    [("What is it?", "A", " A"), ("the end\n", "A", "A"), ('    """', "A", "A"), ("return", " a", " a")],
)
def test_words_are_joined_by_one_space(subject: Subject, prompt: str, answer: str, want: str) -> None:
    """Only a plain prompt that ends in a word or sentence gets a space before the answer."""
    assert subject.continuation(prompt, answer) == subject.tokenizer.encode(want)
    chat = Subject(subject.config, subject.decoder, subject.tokenizer, chat=True)
    assert chat.continuation(prompt, answer) == subject.tokenizer.encode(answer)


def test_a_long_prompt_loses_its_beginning(subject: Subject) -> None:
    """A truncated prompt fits with the answer, starts with the boundary and keeps the prompt's end."""
    tokens, cut = subject.prompt("a b c d e f g h " * 30, 10)
    assert (cut, len(tokens), tokens[0]) == (
        True,
        subject.config.max_sequence_tokens - 10,
        subject.tokenizer.bos_id,
    )
    assert tokens[-6:] == subject.tokenizer.encode("a b c d e f g h " * 30)[-6:]
    assert subject.prompt("short", 10)[1] is False
