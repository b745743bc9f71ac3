"""The stage's test of itself: which examples are planted, what counts as found, and when it fails."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.components.decontaminate import planting

from millrace.components.contract import ComponentError
from millrace.components.decontaminate import self_test
from millrace.components.decontaminate.config import DecontaminateConfig
from millrace.components.decontaminate.examples import Indexed, Numbered, index_examples, prepare
from millrace.data.contamination import planted
from millrace.data.examples.benchmark_files import Benchmark

HOSTS = [
    f"Chapter {n}. " + f"The {n}th day went by the river as every day before it did. " * 8 for n in range(9)
]
TEXTS = planting.examples(12)


def made(texts: list[str]) -> tuple[Numbered, Indexed]:
    rows = [{"id": str(number), "text": text} for number, text in enumerate(texts)]
    numbered, prepared = prepare([Benchmark(name="b", type="text", examples=rows)])
    return numbered, index_examples(DecontaminateConfig(), prepared, HOSTS)


def test_the_same_examples_are_planted_whatever_their_order() -> None:
    numbered, _ = made(TEXTS)
    turned = Numbered(numbered.ids[::-1], numbered.fields[::-1], numbered.answers[::-1])
    one, other = (self_test.plant(examples, HOSTS, 4, 7) for examples in (numbered, turned))
    assert {numbered.ids[at] for at in one.chosen} == {turned.ids[at] for at in other.chosen}
    assert sorted(one.texts) == sorted(other.texts)
    assert len(one.texts) == len(one.plants) == 4 * len(planted.KINDS)
    again = self_test.plant(numbered, HOSTS, 4, 8)
    assert again.chosen != one.chosen


def test_rare_examples_are_found_in_every_copy_and_the_hosts_stay_clean() -> None:
    numbered, indexed = made(TEXTS)
    config = DecontaminateConfig()
    tested = self_test.run(config, numbered, self_test.plant(numbered, HOSTS, 12, 0), indexed)
    assert (tested.examples, tested.checkable, tested.flagged_hosts, tested.missed) == (12, 12, 0, {})
    assert {tested.found[kind] for kind in planted.COPIES} == {12}
    assert tested.copies_recall == 1.0
    self_test.check(config, tested)


def result(**changes: Any) -> self_test.Tested:
    found = dict.fromkeys(planted.KINDS, 8)
    facts: dict[str, Any] = {"examples": 10, "checkable": 10, "found": found, "found_checkable": found}
    return self_test.Tested(**{**facts, "missed": {"exam": 2}, "hosts": 5, "flagged_hosts": 1, **changes})


@pytest.mark.parametrize(
    ("changes", "least", "message"),
    [
        ({}, 0.9, r"found 80\.0% of the planted copies of 10 examples .* most were missed of exam \(2\)"),
        ({"checkable": 0}, 0.1, "10 benchmark examples that are all too short or too common"),
    ],
)
def test_too_little_found_fails_with_how_much(changes: dict[str, Any], least: float, message: str) -> None:
    with pytest.raises(ComponentError, match=message):
        self_test.check(DecontaminateConfig(min_recall=least), result(**changes))


@pytest.mark.parametrize(("changes", "least"), [({}, 0.8), ({}, 0.0), ({"examples": 0, "checkable": 0}, 1.0)])
def test_enough_found_or_nothing_to_find_passes(changes: dict[str, Any], least: float) -> None:
    self_test.check(DecontaminateConfig(min_recall=least), result(**changes))


def test_the_metrics_are_shares_of_all_planted_examples() -> None:
    metrics: dict[str, float] = {}

    class Context:
        def metric(self, name: str, value: float) -> None:
            metrics[name] = value

    self_test.report_metrics(Context(), result(checkable=8))  # type: ignore[arg-type]
    assert metrics["recall"] == 1.0
    assert metrics["unplanted_share"] == pytest.approx(0.2)
    assert metrics["false_positives.shuffled"] == 0.8
    shares = [value for name, value in metrics.items() if name.startswith("recall.")]
    assert np.allclose(shares, 0.8)
    assert len(shares) == len(planted.KINDS) - 1
