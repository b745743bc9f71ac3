"""A survivor policy needs its own field, and refuses those of other policies."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from millrace.components.dedup.config import DedupConfig


@pytest.mark.parametrize(
    "given",
    [
        {"survivor": "earliest"},
        {"survivor": "best_score"},
        {"survivor": "source_order"},
        {"date_field": "date"},
        {"survivor": "earliest", "date_field": "date", "score_field": "score"},
        {"survivor": "longest", "source_order": ["a"]},
        {"url_field": "link"},
    ],
)
def test_a_policy_without_its_field_or_a_field_without_its_policy_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="expected"):
        DedupConfig.model_validate(given)


def test_only_policies_over_metadata_look_at_a_field_of_it() -> None:
    earliest = DedupConfig(survivor="earliest", date_field="date")
    best = DedupConfig(survivor="best_score", score_field="score")
    listed = DedupConfig(survivor="source_order", source_order=("a",))
    assert [one.value_field for one in (earliest, best, listed)] == ["date", "score", None]
