"""The rule ``classifier``: it keeps what a trained classifier says, by a threshold or by a precision asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from millrace.components.contract import ComponentError
from millrace.components.filter.rule import Rows, bounds_of
from millrace.components.filter.rules.classifier import Classified
from millrace.data.filters.classifier import Classifier
from millrace.data.text.batch import from_texts

CURVE = [[0.9, 1.0, 0.2], [0.6, 0.8, 0.7], [0.2, 0.5, 1.0]]  # threshold, precision, recall
BITS = 12
BATCH = from_texts(["a good text", "another one", ""])


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    weights = np.random.default_rng(0).normal(size=1 << BITS).astype(np.float32)
    curves = {"positive": CURVE, "negative": CURVE}
    Classifier("quality", BITS, 64, weights, 0.1, 1.5, -0.2, curves).write(tmp_path)
    return tmp_path


def rule(**fields: Any) -> Classified:
    return Classified.model_validate({"rule": "classifier", "classifier": "q", **fields})


@pytest.mark.parametrize("keep", ["positive", "negative"])
def test_the_value_is_the_classifiers_probability_of_the_label_to_keep(artifact: Path, keep: str) -> None:
    asked = rule(keep=keep, min_probability=0.5)
    values = asked.apply(Rows(BATCH, artifacts={"q": artifact})).values
    np.testing.assert_array_equal(values["probability"], Classifier.load(artifact).probabilities(BATCH, keep))
    assert [(bound.name, bound.threshold) for bound in bounds_of(asked)] == [
        ("classifier:q.min_probability", 0.5)
    ]


def test_a_precision_becomes_the_lowest_threshold_that_reaches_it(artifact: Path) -> None:
    asked = rule(target_precision=0.8)
    assert bounds_of(asked) == []
    assert asked.resolved({"q": artifact}).min_probability == 0.6
    fixed = rule(min_probability=0.3)
    assert fixed.resolved({"q": artifact}) is fixed


def test_a_precision_that_no_threshold_reaches_is_an_error(artifact: Path) -> None:
    weights = np.zeros(256, np.float32)
    (artifact / "never").mkdir()
    Classifier("n", 8, 2, weights, 0, 1, 0, {"positive": CURVE[1:]}).write(artifact / "never")
    with pytest.raises(ComponentError, match="precision"):
        rule(target_precision=0.95).resolved({"q": artifact / "never"})


def test_a_classifier_that_the_stage_was_not_given_is_named(artifact: Path) -> None:
    with pytest.raises(ComponentError, match=r"got a rule with classifier 'q', expected .* \(other\)"):
        rule(min_probability=0.5).resolved({"other": artifact})


@pytest.mark.parametrize("fields", [{}, {"min_probability": 0.5, "target_precision": 0.5}])
def test_one_threshold_is_given(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="neither or both of min_probability and target_precision"):
        rule(**fields)
