"""Stored distributions fit the training they were made for: every fact that settles the order has its name."""

from __future__ import annotations

from typing import Any

import pytest

from millrace.components.contract import ComponentError
from millrace.components.teacher_logits import teacher

FACTS: dict[str, Any] = {"seed": 0, "packing": "documents", "temperature": 1.0}


def test_equal_facts_fit() -> None:
    """Facts that only the stored side has, of a later version say, are no difference."""
    teacher.check_made_for("distill", FACTS | {"later": 1}, FACTS)


@pytest.mark.parametrize("name", FACTS)
def test_a_fact_that_differs_or_is_missing_is_named_with_both_values(name: str) -> None:
    """The others are not."""
    without = {other: value for other, value in FACTS.items() if other != name}
    for recorded in (FACTS | {name: "else"}, without):
        with pytest.raises(ComponentError) as caught:
            teacher.check_made_for("distill", recorded, FACTS)
        found = str(caught.value).split("\n  ")[1:]
        assert found == [f"{name}: teacher_logits {recorded.get(name)!r}, this training {FACTS[name]!r}"]
