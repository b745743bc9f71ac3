"""Mixtures to try: the prior first, none twice, inside the bounds, spread as the configuration says."""

from __future__ import annotations

from typing import Any

import numpy as np

from millrace.components.ablate_mixture.config import AblateConfig
from millrace.components.ablate_mixture.design import design

CONFIG: dict[str, Any] = {
    "tokens": 8 * 32 * 12,
    "sequence_length_tokens": 32,
    "batch_size": 8,
    "max_epochs": 20,
    "samples": 7,
}
UNEVEN = {"large": 980_000, "small": 20_000}


def test_a_source_that_would_be_read_too_often_is_bounded() -> None:
    """By the passes that the training to come may make over it, not by those of a proxy."""
    config = AblateConfig.model_validate(CONFIG | {"target_tokens": 100_000, "max_epochs": 4, "samples": 50})
    made = design(config, {"large": 100_000, "small": 5_000}, 0)
    rows, windows = -(-100_000 // (8 * 32)) * 8, 4_999 // 32
    most = (4 * windows - 2) / rows
    assert made.bounds.most[1] == int(most * 10_000)
    assert all(weights[1] <= most for _, weights in made.given)
    config = AblateConfig.model_validate(CONFIG | {"max_epochs": 4, "samples": 50})
    assert design(config, {"large": 100_000, "small": 5_000}, 0).bounds.most[1] == 10_000


def test_no_mixture_is_tried_twice_and_the_prior_is_first() -> None:
    config = AblateConfig.model_validate(
        CONFIG
        | {"candidates": [{"a": 1}, {"a": 2, "b": 2}, {"a": 9}], "samples": 0, "prior": {"a": 1, "b": 1}}
    )
    made = design(config, {"a": 5_000, "b": 5_000}, 0)
    assert [(name, list(weights)) for name, weights in made.given] == [
        ("prior", [0.5, 0.5]), ("candidate 1", [1.0, 0.0])
    ]  # fmt: skip


def test_samples_give_a_small_source_more_than_its_tokens_do() -> None:
    """A source of a hundredth is drawn with a tenth or so; as many mixtures as were asked for, all of them different."""
    config = AblateConfig.model_validate(CONFIG | {"samples": 100})
    made = design(config, {"large": 990_000, "small": 10_000}, 0)
    shares = [weights[1] for name, weights in made.given if name.startswith("sample")]
    assert len(shares) == len(set(shares)) == 100
    assert 0.05 < np.mean(shares) < 0.3


def drawn(**settings: Any) -> np.ndarray:
    """The small source's weights in two hundred samples."""
    made = design(AblateConfig.model_validate(CONFIG | {"samples": 200} | settings), UNEVEN, 0)
    return np.asarray([weights[1] for name, weights in made.given if name.startswith("sample")])


def test_temperature_flattens_what_samples_are_drawn_around() -> None:
    """At 1 their mean is the prior, at 2 that of its square roots, and far above it is even."""
    for temperature, mean in ((1, 0.02), (2, 0.02**0.5 / (0.02**0.5 + 0.98**0.5)), (1e6, 0.5)):
        shares = drawn(temperature=temperature, concentration=20)
        assert abs(shares.mean() - mean) < 0.03


def test_concentration_keeps_samples_together() -> None:
    """Their variance is a Beta distribution's: mean times the rest, over the parameters' sum and one."""
    for concentration in (2.0, 20.0):
        shares = drawn(temperature=1e6, concentration=concentration)
        wanted = 0.25 / (2 * concentration + 1)
        assert 0.7 < shares.var() / wanted < 1.3


def test_no_sample_is_below_the_smallest_weight() -> None:
    """Nor is the prior, though its tokens are fewer."""
    made = design(AblateConfig.model_validate(CONFIG | {"min_weight": 0.1, "samples": 50}), UNEVEN, 0)
    assert min(weights.min() for _, weights in made.given) >= 0.1
