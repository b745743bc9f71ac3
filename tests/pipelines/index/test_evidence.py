"""Evidence: which keys name a survivor, an example, a threshold."""

from __future__ import annotations

from typing import Any

import pytest

from millrace.pipelines.index.evidence import Hit, hits, pointers, survivor, threshold

NEAR = {"survivor": "d1", "similarity": 0.9}
LEAK = {"benchmark": "b", "example": "q1", "span": "the text", "also": [["b", "q2"], ["c", 7]]}


def test_every_example_is_a_hit_and_the_first_alone_has_a_span() -> None:
    assert hits(LEAK) == [Hit("b", "q1", "the text"), Hit("b", "q2", ""), Hit("c", "7", "")]
    assert hits({"benchmark": "b"}) == [Hit("b", "", "")]
    assert hits(NEAR) == hits({"benchmark": 3}) == []


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        (NEAR, ["d1"]),
        (LEAK, ["b/q1", "b/q2", "c/7"]),
        ({**LEAK, "also": [["b", "q1"]]}, ["b/q1"]),
        ({**NEAR, **LEAK, "also": []}, ["d1", "b/q1"]),
        ({"survivor": 5}, []),
        ({}, []),
    ],
)
def test_a_decision_is_found_once_from_everything_that_it_names(
    evidence: dict[str, Any], expected: list[str]
) -> None:
    assert list(pointers(evidence)) == expected


@pytest.mark.parametrize(
    ("evidence", "config", "expected"),
    [
        ({"threshold": 5}, {"threshold": 1.0}, 5.0),
        (NEAR, {"threshold": 0.8}, 0.8),
        ({"value": 3}, {"threshold": 0.8}, None),
        (NEAR, {"threshold": "high"}, None),
    ],
)
def test_a_threshold_is_the_rules_own_or_that_of_a_comparison(
    evidence: dict[str, Any], config: dict[str, Any], expected: float | None
) -> None:
    assert threshold(evidence, config) == expected


def test_a_survivor_is_an_id() -> None:
    assert (survivor(NEAR), survivor({"survivor": None}), survivor({})) == ("d1", None, None)
