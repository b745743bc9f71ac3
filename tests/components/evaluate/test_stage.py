"""The evaluate stage: scores that can be counted by hand, examples that do not depend on the model, clear refusals."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from millrace.components.contract import ComponentError
from millrace.components.evaluate import scores
from millrace.components.evaluate.scores import Subject
from millrace.data.examples.benchmark_files import Benchmark
from millrace.data.tokenizer.tokenizer import Tokenizer
from millrace.model.answers import generate
from millrace.model.package import weights

CHOICES = [
    {
        "id": f"q{index}",
        "prompt": f"Find the {index}",
        "choices": ["a path", "a value", "x"],
        "answer": index % 3,
    }
    for index in range(30)
]
ANSWERS = [{"id": f"g{index}", "prompt": f"Set {index}", "answer": "The count."} for index in range(4)]
TEXTS = [
    {
        "id": f"t{index}",
        "text": "Return the count of the items. " * (index + 1),
        "source": "code" if index % 2 else "docs",
    }
    for index in range(8)
]


@pytest.fixture
def benchmarks(tmp_path: Path) -> Path:
    """One benchmark of each type."""
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    sets = {"mc": ("multiple_choice", CHOICES), "gen": ("generation", ANSWERS), "held": ("text", TEXTS)}
    index = []
    for name, (kind, rows) in sets.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        index.append({"name": name, "type": kind, "examples": len(rows), "file": f"{name}.jsonl"})
    (folder / "index.json").write_text(json.dumps({"benchmarks": index}))
    return folder


@pytest.fixture
def subject(tiny: SimpleNamespace) -> Subject:
    """The tiny model as a plain one."""
    config, decoder = weights.load(tiny.model)
    return Subject(config, decoder, Tokenizer.load(tiny.tokenizer), chat=False)


def inputs_of(tiny: SimpleNamespace, benchmarks: Path, **other: Path) -> dict:
    """Two labels of one model."""
    models = {"base": tiny.model, "sft": tiny.model}
    return {"models": models, "tokenizer": tiny.tokenizer, "benchmarks": benchmarks, **other}


def test_a_report_has_every_score_with_its_interval_and_contamination(
    tiny: SimpleNamespace, benchmarks: Path, run_component, tmp_path: Path
) -> None:
    """All models and benchmarks are there; an untrained model scores chance and ln V; two runs agree byte for byte."""
    found = {"benchmarks": {"mc": {"examples": 30, "contaminated": 3, "share": 0.1, "remaining_share": 0.0}}}
    (tmp_path / "contamination").mkdir()
    (tmp_path / "contamination" / "report.json").write_text(json.dumps(found))
    inputs = inputs_of(tiny, benchmarks, contamination=tmp_path / "contamination")
    config = {"chat_models": ["sft"], "max_examples": 20, "max_new_tokens": 4}
    done = run_component("evaluate", config, inputs)
    report = json.loads((done.outputs["report"] / "report.json").read_text())
    assert [report["models"][label]["prompts"] for label in ("base", "sft")] == ["plain", "chat"]
    for label in ("base", "sft"):
        for entry in report["models"][label]["benchmarks"].values():
            assert entry["low"] <= entry["score"] <= entry["high"]
    entries = report["models"]["base"]["benchmarks"]
    assert {name: entry["contamination"] for name, entry in entries.items()} == {
        "mc": 0.1,
        "gen": None,
        "held": None,
    }
    assert (entries["mc"]["chance"], entries["mc"]["examples"]) == (pytest.approx(1 / 3), 20)
    assert set(entries["held"]["sources"]) == {"code", "docs"}
    table = (done.outputs["report"] / "report.md").read_text()
    assert "| mc | accuracy_per_byte | 20 | 33.3% | 10.0% → 0.0% |" in table
    again = run_component("evaluate", config, inputs)
    for name in ("report.json", "report.md"):
        assert (again.outputs["report"] / name).read_bytes() == (done.outputs["report"] / name).read_bytes()
    assert done.metrics["accuracy"] == report["models"]["sft"]["benchmarks"]["mc"]["score"]


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
    logits = np.asarray(subject.decoder(np.asarray([tokens], np.int32)), dtype=np.float64)[0]
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
    """What is left fits with the answer, starts with the boundary and ends as the prompt does."""
    tokens, cut = subject.prompt("a b c d e f g h " * 30, 10)
    assert (cut, len(tokens), tokens[0]) == (
        True,
        subject.config.max_sequence_tokens - 10,
        subject.tokenizer.bos_id,
    )
    assert tokens[-6:] == subject.tokenizer.encode("a b c d e f g h " * 30)[-6:]
    assert subject.prompt("short", 10)[1] is False


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"chat_models": ["rlfh"]}, "chat_models names rlfh, but the models are base, sft"),
        ({"benchmarks": ["mcq"]}, "benchmarks names mcq, but there are mc, gen, held"),
        ({"max_new_tokens": 40}, "expected less than half"),
    ],
)
def test_settings_that_cannot_work_are_named(
    tiny: SimpleNamespace, benchmarks: Path, run_component, config: dict, message: str
) -> None:
    """Each mistake ends in a message that says what there is."""
    with pytest.raises(ComponentError, match=message):
        run_component("evaluate", {**config}, inputs_of(tiny, benchmarks))


def test_an_empty_benchmark_is_an_error(tiny: SimpleNamespace, benchmarks: Path, run_component) -> None:
    """A benchmark without examples has no score, and the message names it."""
    (benchmarks / "gen.jsonl").write_text("")
    with pytest.raises(ComponentError, match="benchmark gen has no examples"):
        run_component("evaluate", {}, inputs_of(tiny, benchmarks))


def test_a_broken_model_is_an_error(
    tiny: SimpleNamespace, benchmarks: Path, run_component, tmp_path: Path
) -> None:
    """Weights that are not numbers give no score, and the message names the model."""
    config, decoder = weights.load(tiny.model)
    decoder.embedding[...] = decoder.embedding[...] * np.float32(np.nan)
    (tmp_path / "broken").mkdir()
    weights.save(tmp_path / "broken", config, decoder)
    inputs = {**inputs_of(tiny, benchmarks), "models": {"sft": tmp_path / "broken"}}
    with pytest.raises(ComponentError, match="model sft gives held the score nan"):
        run_component("evaluate", {"benchmarks": ["held"]}, inputs)
