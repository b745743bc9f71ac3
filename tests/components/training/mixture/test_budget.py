"""Budgets: 20 tokens for each parameter, embeddings among them, and phases that share them without a rest."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from millrace.components.training.config import PretrainConfig
from millrace.components.training.mixture.budget import compute_optimal_tokens, phase_ends
from millrace.components.training.mixture.reading import plan

WEIGHTS = {"weights": {"a": 1}}


def config_of(phases: list[dict[str, Any]], **settings: Any) -> PretrainConfig:
    return PretrainConfig.model_validate({"phases": [phase | WEIGHTS for phase in phases], **settings})


def test_chinchilla_is_compute_optimal() -> None:
    """Its 70 billion parameters get the 1.4 trillion tokens that Hoffmann et al. trained it on."""
    assert compute_optimal_tokens(70 * 10**9) == 1_400 * 10**9
    assert compute_optimal_tokens(70 * 10**9, over_train=2.5) == 3_500 * 10**9


@given(st.lists(st.integers(1, 100), min_size=1, max_size=6), st.integers(10**3, 10**13))
def test_shares_leave_no_rest(parts: list[int], total: int) -> None:
    """Phases end in order, each within a token of its share, the last at the total."""
    shares = [part / sum(parts) for part in parts]
    ends = phase_ends(shares, total)
    assert ends[-1] == total
    assert ends == sorted(ends)
    for index, end in enumerate(ends):
        assert end == pytest.approx(total * sum(shares[: index + 1]), rel=1e-9, abs=1)


def test_the_plan_follows_the_model_and_its_vocabulary() -> None:
    """A training runs 20 tokens per parameter up to its last step, which a larger vocabulary lengthens."""
    dense = config_of([{"share": 0.75}, {"share": 0.25}], tokens="compute_optimal", over_train=0.5)
    shape = {"experts": 8, "experts_per_token": 2}
    sparse = config_of(
        [{"share": 0.75}, {"share": 0.25}], tokens="compute_optimal", over_train=0.5, model=shape
    )
    for config, vocab_size in itertools.product((dense, sparse), (100, 5_000)):
        parameters = config.model.model_config_for(vocab_size, 256).active_parameter_count()
        mixture = plan(config, 0, {"a": 10**7}, vocab_size)
        assert 10 * parameters <= mixture.total_tokens < 10 * parameters + 8 * 256
        assert mixture.ends[0] == pytest.approx(0.75 * mixture.total_steps, abs=1)


def test_a_number_of_tokens_is_one() -> None:
    """A budget may be given; shares cut it as they cut the optimum."""
    config = config_of([{"share": 0.5}, {"share": 0.5, "batch_size": 16}], tokens=2**20)
    assert config.phase_ends(100) == [2**19, 2**20]
    assert plan(config, 0, {"a": 10**6}, 100).step_tokens == (8 * 256, 16 * 256)


@pytest.mark.parametrize(
    ("phases", "settings", "message"),
    [
        ([{}], {}, "exactly one of them"),
        ([{"share": 1.0, "until_tokens": 9}], {"tokens": 9}, "exactly one of them"),
        ([{"share": 1.0}], {}, "tokens None and 1 of 1 phases with a share"),
        ([{"share": 1.0}, {"until_tokens": 9}], {"tokens": 9}, "1 of 2 phases with a share"),
        ([{"share": 0.5}, {"share": 0.4}], {"tokens": 9}, "sum to 0.9, expected 1"),
        ([{"until_tokens": 9}], {"over_train": 2.0}, "over_train 2 and tokens None"),
        ([{"until_tokens": 9, "batch_size": 6}], {"accumulate_steps": 4}, "4 and batches of 6 rows"),
    ],
)
def test_budgets_that_contradict_themselves_are_refused(
    phases: list[dict[str, Any]], settings: dict[str, Any], message: str
) -> None:
    """Each rule names what it got and what it expected."""
    with pytest.raises(ValidationError, match=message):
        config_of(phases, **settings)
