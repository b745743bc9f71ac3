"""A record reads back as it was written, and nothing else is taken for one."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest

from millrace.pipelines.store.canonical import stage_key
from millrace.pipelines.store.record import StageRecord
from millrace.pipelines.store.seal import seal

IDENTITY: dict[str, Any] = {
    "component": "dedup",
    "code": "c0de",
    "config": {"threshold": 0.8},
    "seed": 3,
    "inputs": {"documents": {"en": "0" * 64}},
    "fingerprint": [["a", 1]],
    "lineage": ["up"],
}
RECORD = StageRecord(
    **IDENTITY,
    key=stage_key(**IDENTITY),
    stage="near",
    modules={"m": {"f": "1"}},
    outputs={"documents": {"digest": "1" * 64, "kind": "documents"}},
    metrics={"kept": 0.5},
    run="r",
    started=1.0,
    seconds=2.0,
    peak_bytes=3,
    versions={"numpy": "2"},
    adopted_from="old",
)


def test_every_attribute_survives() -> None:
    assert StageRecord.from_json(RECORD.to_json()) == RECORD


def test_the_two_attributes_that_came_later_may_be_missing() -> None:
    facts = asdict(RECORD)
    del facts["adopted_from"], facts["lineage"]
    read = StageRecord.from_json(seal(facts))
    assert read == replace(RECORD, adopted_from=None, lineage=None)


@pytest.mark.parametrize(
    "change",
    [
        {"component": "filter"},
        {"code": "c1"},
        {"config": {"threshold": 0.9}},
        {"seed": 4},
        {"inputs": {}},
        {"fingerprint": None},
        {"lineage": None},
    ],
)
def test_the_key_is_computed_from_everything_that_it_covers(change: dict[str, Any]) -> None:
    assert RECORD.computed_key == RECORD.key
    assert replace(RECORD, **change).computed_key != RECORD.key


@pytest.mark.parametrize(
    "change", [{"stage": "far"}, {"metrics": {}}, {"run": "s"}, {"versions": {}}, {"seconds": 9.0}]
)
def test_the_key_covers_nothing_of_how_it_went(change: dict[str, Any]) -> None:
    assert replace(RECORD, **change).computed_key == RECORD.key


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outputs": {}}, "it has no outputs"),
        ({"outputs": []}, "its outputs are not an object"),
        ({"outputs": {"a": {}}}, "its output a has no digest and kind"),
        ({"outputs": {"a": 1}}, "its output a has no digest and kind"),
        ({"outputs": {"a": {"digest": "../../x", "kind": "k"}}}, "a digest that is not 64 hex digits"),
        ({"metrics": []}, "its metrics are not an object"),
        ({"of_a_later_version": 1}, "it has 'of_a_later_version', which this version does not know"),
    ],
)
def test_a_record_without_the_parts_of_one_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StageRecord.from_json(seal({**asdict(RECORD), **change}))


def test_a_missing_attribute_is_named() -> None:
    facts = asdict(RECORD)
    del facts["run"]
    with pytest.raises(ValueError, match="it has no 'run'"):
        StageRecord.from_json(seal(facts))
