"""A classifier scores by its weights, comes back from disk, and finds the threshold of a precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from millrace.data.filters import hashed_ngrams
from millrace.data.filters.classifier import Classifier
from millrace.data.text.batch import from_texts

TEXTS = from_texts(["good words here", "bad", "", "good bad good"])


def classifier(**changed: float) -> Classifier:
    weights = np.random.default_rng(0).normal(size=2**8).astype(np.float32)
    curve = [[0.9, 1.0, 0.1], [0.6, 0.8, 0.5], [0.7, 0.9, 0.3], [0.2, 0.85, 0.9]]
    facts = {"bias": 0.25, "slope": 2.0, "intercept": -0.5, **changed}
    return Classifier(
        name="quality", bits=8, max_words=2, weights=weights, curves={"positive": curve}, **facts
    )


def test_a_score_is_the_sum_of_weights_over_the_root_of_their_number() -> None:
    """Of the first words alone; a text without words has the bias."""
    one = classifier()
    found = hashed_ngrams.features(TEXTS, bits=8, max_words=2)
    parts = np.split(one.weights[found.buckets].astype(np.float64), found.offsets[1:-1])
    expected = [part.sum() / max(part.size, 1) ** 0.5 + 0.25 for part in parts]
    np.testing.assert_allclose(one.scores(TEXTS), expected, rtol=1e-6)


def test_probabilities_are_calibrated_and_of_both_labels_one_together() -> None:
    """However far a score is out."""
    one = classifier()
    expected = 1 / (1 + np.exp(-(2.0 * one.scores(TEXTS) - 0.5)))
    np.testing.assert_allclose(one.probabilities(TEXTS), expected)
    np.testing.assert_allclose(one.probabilities(TEXTS, "negative"), 1 - expected)
    assert classifier(bias=1e6).probabilities(TEXTS).tolist() == [1.0] * 4


def test_the_threshold_is_the_lowest_that_reaches_the_precision() -> None:
    assert classifier().threshold(0.85) == 0.2
    assert classifier().threshold(0.95) == 0.9
    with pytest.raises(ValueError, match=r"at most the 0\.000"):
        Classifier("q", 8, 2, np.zeros(256, np.float32), 0, 1, 0, {"positive": []}).threshold(0.5)


def test_a_classifier_comes_back_from_disk(tmp_path: Path) -> None:
    one = classifier()
    one.write(tmp_path)
    again = Classifier.load(tmp_path)
    assert again.scores(TEXTS).tolist() == one.scores(TEXTS).tolist()
    assert (again.name, again.curves) == (one.name, one.curves)
