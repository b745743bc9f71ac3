"""The text classifier against closed forms, brute force and planted truths."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.model.judges import text_classifier

LABELLED = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=40).filter(
    lambda rows: len({label for _, label in rows}) == 2
)


@given(LABELLED)
def test_the_area_is_the_chance_that_a_positive_lies_above_a_negative(rows: list[tuple[int, bool]]) -> None:
    scores, labels = np.array([float(score) for score, _ in rows]), np.array([label for _, label in rows])
    pairs = [(a > b) + (a == b) / 2 for a in scores[labels] for b in scores[~labels]]
    area = text_classifier.area_under_curve(scores, labels)
    assert area.value == pytest.approx(np.mean(pairs))
    assert 0 <= area.low <= area.value <= area.high <= 1


def test_the_areas_interval_covers_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(120) % 2 == 0
    truth = 0.7602  # of unit normals one apart: Phi(1 / sqrt 2)
    areas = [
        text_classifier.area_under_curve(generator.normal(size=120) + labels, labels) for _ in range(400)
    ]
    assert np.mean([area.low <= truth <= area.high for area in areas]) == pytest.approx(0.95, abs=0.035)


def test_calibration_finds_a_planted_sigmoid() -> None:
    generator = np.random.default_rng(1)
    scores = generator.normal(size=40_000) * 2
    planted = text_classifier.Calibration(0.7, -0.4)
    labels = generator.random(scores.size) < planted.probabilities(scores)
    found = text_classifier.calibrate(scores, labels)
    assert found == pytest.approx(planted, abs=0.05)
    _, error = text_classifier.reliability(found.probabilities(scores), labels)
    assert error < 0.01


def test_separable_scores_give_finite_calibration() -> None:
    found = text_classifier.calibrate(np.array([-1.0, -1.0, 1.0, 1.0]), np.array([False, False, True, True]))
    assert found.probabilities(np.array([-1.0, 1.0])) == pytest.approx([0.25, 0.75], abs=1e-6)


@given(LABELLED)
def test_every_point_of_the_precision_curve_is_what_its_threshold_gives(rows: list[tuple[int, bool]]) -> None:
    likely, wanted = np.array([score / 6 for score, _ in rows]), np.array([label for _, label in rows])
    for point in text_classifier.precision_curve(likely, wanted):
        taken = likely >= point.threshold
        assert point.precision == pytest.approx(wanted[taken].mean())
        assert point.recall == pytest.approx(taken[wanted].mean())


def planted(texts: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Texts of ten features of 64; those of positives come more often from the lower half."""
    generator = np.random.default_rng(2)
    labels = generator.random(texts) < 0.5
    upper = generator.random((texts, 10)) < np.where(labels, 0.25, 0.75)[:, None]
    features = generator.integers(0, 32, (texts, 10)) + 32 * upper
    return features.astype(np.int32).reshape(-1), np.arange(texts + 1) * 10, labels


def test_fitting_finds_a_planted_difference_and_gives_the_same_bits_again() -> None:
    features, offsets, labels = planted()
    settings = {"buckets": 64, "epochs": 20, "batch_size": 32, "seed": 3}
    with jax.numpy_dtype_promotion("standard"):  # optax does not run under strict promotion
        made = [text_classifier.fit(features, offsets, labels, **settings) for _ in range(2)]
    assert (made[0].weights == made[1].weights).all()
    assert (made[0].weights[:32] > 0).mean() > 0.9
    assert (made[0].weights[32:] < 0).mean() > 0.9


def test_a_text_without_features_and_a_batch_larger_than_the_data_are_fine() -> None:
    with jax.numpy_dtype_promotion("standard"):
        made = text_classifier.fit(
            np.array([1, 2], np.int32),
            np.array([0, 2, 2]),
            np.array([True, False]),
            buckets=4,
            epochs=3,
            batch_size=64,
            seed=0,
        )
    assert np.isfinite(made.weights).all()
    assert made.weights[0] == made.weights[3] == 0
