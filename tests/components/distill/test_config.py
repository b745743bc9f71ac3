"""The check reports mistakes of a distillation's inputs and configuration taken together."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from millrace.components.distill.config import COMPONENT, DistillConfig, misfits

NUMBERS = {"until_tokens": 100, "weights": {"a": 1}}


def config_of(**settings: Any) -> DistillConfig:
    return DistillConfig.model_validate({"phases": [NUMBERS]} | settings)


@pytest.mark.parametrize("teachers", [["teacher"], ["teacher_logits"]])
def test_one_teacher_fits(teachers: list[str]) -> None:
    assert not list(misfits(config_of(), ["tokens", "tokenizer", *teachers]))


@pytest.mark.parametrize(
    ("ports", "message"),
    [
        (["tokens"], "got neither teacher nor teacher_logits as input"),
        (["teacher", "teacher_logits"], "got teacher and teacher_logits as input"),
        (["teacher", "mixture"], "got an input mixture and numbers as weights"),
    ],
)
def test_teachers_and_mixtures_that_do_not_fit_are_told(ports: list[str], message: str) -> None:
    """One message each."""
    (found,) = misfits(config_of(), ports)
    assert message in found
    assert COMPONENT.misfits is misfits


@pytest.mark.parametrize(
    "distillation", [{"weight": 1.5}, {"weight": -0.1}, {"temperature": 0}, {"top_k": 0}]
)
def test_a_teacher_cannot_count_so(distillation: dict[str, float]) -> None:
    """More than all, less than nothing, at no temperature, with no tokens."""
    with pytest.raises(ValidationError):
        config_of(distillation=distillation)
