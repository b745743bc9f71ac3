"""The classifier stage: it learns what labels mean, from sources or from a field, and says how well."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from millrace.components.contract import ComponentError
from millrace.data.documents import shards as documents
from millrace.data.filters.classifier import Classifier
from millrace.data.text.batch import from_texts

GOOD = [
    "the",
    "report",
    "explains",
    "how",
    "careful",
    "measurements",
    "of",
    "water",
    "were",
    "compared",
    "over",
    "many",
    "years",
]
BAD = ["click", "here", "now", "buy", "cheap", "deals", "best", "price", "free", "offer", "win", "cash"]
BY_SOURCE = {"name": "quality", "positive": {"sources": ["good"]}, "negative": {"sources": ["bad"]}}
SMALL = {"bits": 14, "epochs": 3, "batch_size": 16}


def text_of(chance: random.Random, label: int) -> str:
    mixed = [chance.choice(GOOD if chance.random() < (0.8 if label else 0.2) else BAD) for _ in range(40)]
    return " ".join(mixed)


def corpus(folder: Path, shards: int = 2, count: int = 240) -> Path:
    chance = random.Random(0)
    rows = [
        {
            "doc_id": documents.document_id(f"{number}.txt", ""),
            "text": text_of(chance, number % 2),
            "source": "good" if number % 2 else "bad",
            "lang": "en",
            "uri": f"{number}.txt",
            "locator": "",
            "metadata": json.dumps({"label": number % 2}),
        }
        for number in range(count)
    ]
    folder.mkdir()
    for index in range(shards):
        part = rows[index * count // shards : (index + 1) * count // shards]
        documents.write_shard(folder / documents.shard_name(index), documents.documents_table(part))
    return folder


def test_it_tells_held_out_documents_apart_and_its_thresholds_hold(
    run_component: Any, tmp_path: Path
) -> None:
    done = run_component("train_classifier", BY_SOURCE | SMALL, {"documents": corpus(tmp_path / "c")})
    assert done.metrics["area_under_curve"] > 0.95
    made = Classifier.load(done.outputs["classifier"])
    chance = random.Random(1)
    likely = made.probabilities(from_texts([text_of(chance, label) for label in [1] * 50 + [0] * 50]))
    assert (likely[:50] > likely[50:]).mean() > 0.95
    kept = likely >= made.threshold(0.9)
    assert kept[:50].sum() / kept.sum() > 0.8
    report = json.loads((done.outputs["report"] / "report.json").read_text())
    assert sum(sum(part.values()) for part in report["documents"].values()) == 240
    assert "Furthest from their label" in (done.outputs["report"] / "report.html").read_text()


def test_labels_in_metadata_and_in_sources_give_the_same_classifier_whatever_the_shards(
    run_component: Any, tmp_path: Path
) -> None:
    by_field = {
        "name": "quality",
        "positive": {"field": "label", "values": [1]},
        "negative": {"field": "label", "values": [0]},
    }
    made = [
        run_component("train_classifier", config | SMALL, {"documents": corpus(tmp_path / name, shards)})
        for name, config, shards in (("one", BY_SOURCE, 1), ("three", by_field, 3))
    ]
    files = [{p.name: p.read_bytes() for p in one.outputs["classifier"].iterdir()} for one in made]
    assert files[0] == files[1]


def test_the_wanted_label_turns_probabilities_round(tmp_path: Path) -> None:
    made = Classifier(
        "quality", 10, 8, np.ones(1024, np.float32), -1.0, 2.0, 0.1, {"positive": [[0.5, 0.8, 1.0]]}
    )
    made.write(tmp_path)
    loaded = Classifier.load(tmp_path)
    batch = from_texts(["one two three", ""])
    assert loaded.probabilities(batch).tolist() == made.probabilities(batch).tolist()
    assert (loaded.probabilities(batch) + loaded.probabilities(batch, "negative")).tolist() == [1.0, 1.0]
    with pytest.raises(ValueError, match=r"at most the 0\.800 that it reaches"):
        loaded.threshold(0.9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positive": {"sources": ["books"]}}, "got 0 documents with the positive label.*bad, good"),
        ({"positive": {"field": "label", "values": [0]}}, "got document .* of bad with both labels"),
        ({"held_out_fraction": 1e-6}, "got no (positive|negative) document to calibrate with"),
    ],
)
def test_labels_that_cannot_be_learnt_are_clear_errors(
    run_component: Any, tmp_path: Path, change: dict, message: str
) -> None:
    with pytest.raises(ComponentError, match=message):
        run_component("train_classifier", BY_SOURCE | SMALL | change, {"documents": corpus(tmp_path / "c")})


@pytest.mark.parametrize("label", [{}, {"field": "a"}, {"sources": ["a"], "field": "b", "values": [1]}])
def test_a_label_says_one_thing(label: dict) -> None:
    from millrace.components.train_classifier.config import Label

    with pytest.raises(ValueError, match="neither or both"):
        Label(**label)


def test_a_filter_keeps_what_the_classifier_says(tmp_path: Path, run_component: Any) -> None:
    """By a threshold and by a target precision, for the label that is to stay, with the probability as the reason."""
    folder = corpus(tmp_path / "in")
    made = run_component("train_classifier", {**BY_SOURCE, **SMALL}, {"documents": folder})
    model = Classifier.load(made.outputs["classifier"])
    inputs = {"documents": folder, "classifiers": {"quality": made.outputs["classifier"]}}

    def decisions(**rule: Any) -> list[dict[str, Any]]:
        rules = {"*": [{"rule": "classifier", "classifier": "quality", **rule}]}
        done = run_component("filter", {"rules": rules, "max_drop_fraction": 1.0}, inputs)
        return [
            row for table in documents.read_shards(done.outputs["decisions"]) for row in table.to_pylist()
        ]

    kept = {
        keep: [row["doc_id"] for row in decisions(keep=keep, min_probability=0.5) if row["action"] == "keep"]
        for keep in ("positive", "negative")
    }
    assert not set(kept["positive"]) & set(kept["negative"])
    assert len(kept["positive"]) + len(kept["negative"]) == 240
    threshold = model.threshold(0.95)
    texts = [text for table in documents.read_shards(folder) for text in table["text"].to_pylist()]
    likely = model.probabilities(from_texts(texts))
    for row, probability in zip(decisions(target_precision=0.95), likely, strict=True):
        assert (row["action"] == "keep") == (probability >= threshold)
        if row["action"] == "drop":
            assert row["rule"] == "classifier:quality.min_probability"
            assert row["score"] == probability
            assert json.loads(row["evidence"])["threshold"] == threshold


def test_a_filter_says_what_is_missing_for_its_classifier(tmp_path: Path, run_component: Any) -> None:
    folder = corpus(tmp_path / "in", shards=1)
    rule = {"rule": "classifier", "classifier": "quality", "target_precision": 0.9}
    with pytest.raises(ComponentError, match=r"add `classifiers: \{quality: STAGE\.classifier\}`"):
        run_component("filter", {"rules": {"*": [rule]}}, {"documents": folder})
    made = run_component("train_classifier", {**BY_SOURCE, **SMALL}, {"documents": folder})
    unsure = tmp_path / "unsure"
    unsure.mkdir()
    model = Classifier.load(made.outputs["classifier"])
    replace(model, curves={"positive": [[0.5, 0.8, 1.0]], "negative": []}).write(unsure)
    inputs = {"documents": folder, "classifiers": {"quality": unsure}}
    with pytest.raises(ComponentError, match=r"expected at most the 0\.800 .* lower it"):
        run_component("filter", {"rules": {"*": [rule]}}, inputs)
    with pytest.raises(ValueError, match="expected one of the two"):
        run_component("filter", {"rules": {"*": [{**rule, "min_probability": 0.5}]}}, inputs)
