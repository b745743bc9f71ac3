"""The rules of the gate: which label is compared, and the interval of a difference."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.components.contract import ComponentError
from millrace.components.gate.config import GateConfig
from millrace.components.gate.rules import Evidence, difference_bounds, evaluate, markdown
from millrace.model.judges.intervals import wilson


def of(**scores: float) -> Evidence:
    """Each model's score on one benchmark, with a narrow interval."""
    entry: dict[str, Any] = {"metric": "exact_match", "higher_is_better": True}
    return Evidence(
        {
            label: {"docs": entry | {"score": score, "low": score - 0.01, "high": score + 0.01}}
            for label, score in scores.items()
        }
    )


def test_the_baselines_label_says_which_of_its_models_is_the_measure() -> None:
    """Without one it is the model's own label; a label that the earlier evaluation has not is no pass."""
    new, old = of(rlhf=0.5), of(rlhf=0.1, sft=0.9)
    [own] = evaluate(GateConfig(baseline="p"), new, old)
    [other] = evaluate(GateConfig(baseline="p", baseline_model="sft"), new, old)
    assert (own.holds, other.holds) == (True, False)
    assert "no worse than 0.9000" in other.wanted
    with pytest.raises(ComponentError, match=r"model of the baseline 'stf'.*did you mean 'sft'"):
        evaluate(GateConfig(baseline="p", baseline_model="stf"), new, old)


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_score_passes_exactly_from_its_limit_on(score: float, limit: float) -> None:
    """A least score holds where the score reaches it, and the table says the verdict."""
    config = GateConfig.model_validate({"min_scores": {"docs": {"min": limit}}})
    [verdict] = evaluate(config, of(rlhf=score), None)
    assert verdict.holds is (score >= limit)
    assert markdown([verdict])[-1].endswith("| pass |" if verdict.holds else "| **FAIL** |")


@given(st.floats(0, 9), st.floats(0, 9))
def test_a_loss_passes_exactly_up_to_its_limit(loss: float, limit: float) -> None:
    """A greatest score holds where the score does not exceed it."""
    entry = {"metric": "bits_per_byte", "higher_is_better": False, "score": loss, "low": loss, "high": loss}
    config = GateConfig.model_validate({"max_scores": {"held": {"max": limit}}})
    [verdict] = evaluate(config, Evidence({"rlhf": {"held": entry}}), None)
    assert verdict.holds is (loss <= limit)


@pytest.mark.parametrize(("share", "opens"), [(0.05, True), (math.nextafter(0.05, 1), False)])
def test_contamination_passes_exactly_up_to_its_limit(share: float, opens: bool) -> None:
    config = GateConfig.model_validate({"max_contamination": 0.05})
    [verdict] = evaluate(config, Evidence(contamination={"docs": share}), None)
    assert verdict.holds is opens


@pytest.mark.parametrize(("loss", "opens"), [(0.25, True), (0.3125, False)])
def test_a_regression_passes_exactly_up_to_its_limit(loss: float, opens: bool) -> None:
    config = GateConfig(baseline="p", regression_test="absolute", max_regression=0.25)
    [verdict] = evaluate(config, of(rlhf=0.5), of(rlhf=0.5 + loss))
    assert verdict.holds is opens


@given(st.integers(0, 200), st.integers(0, 200))
def test_difference_bounds_hold_the_difference_and_turn_with_it(a: int, b: int) -> None:
    """The interval contains the difference, and swapping the terms mirrors it."""
    new, old = wilson(a, 200).as_json(), wilson(b, 200).as_json()
    low, high = difference_bounds(new, old)
    assert low <= new["score"] - old["score"] <= high
    assert difference_bounds(old, new) == pytest.approx((-high, -low))


def test_difference_bounds_match_newcombes_table() -> None:
    """Newcombe 1998, table II, row (a) method 10: 56/70 against 48/80 gives 0.0524 to 0.3339."""
    low, high = difference_bounds(wilson(56, 70).as_json(), wilson(48, 80).as_json())
    assert (round(low, 4), round(high, 4)) == (0.0524, 0.3339)
