"""Decisions of a shard as columns."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from millrace.components.shards.map import tally
from millrace.data.documents.decisions import Verdicts
from millrace.data.documents.shards import DECISIONS

SHARD = pa.table({"doc_id": list("abcde"), "source": ["web", "web", "web", "code", "code"]})


def decided() -> pa.Table:
    verdicts = Verdicts([10, 20, 30, 40, 50], "passed")
    verdicts.drop(np.array([False, True, False, False, True]), "short", [2.0, 5.0])
    verdicts.edit([2], "pii", [25])
    verdicts.explain(1, {"value": 2.0, "threshold": 3.0})
    return verdicts.table(SHARD)


def test_every_document_has_one_decision_in_the_order_of_the_shard() -> None:
    rows = decided()
    assert rows.schema == DECISIONS
    assert rows["doc_id"].to_pylist() == list("abcde")
    assert rows["action"].to_pylist() == ["keep", "drop", "edit", "keep", "drop"]
    assert rows["rule"].to_pylist() == ["passed", "short", "pii", "passed", "short"]
    assert rows["score"].to_pylist() == [None, 2.0, None, None, 5.0]
    assert rows["bytes_before"].to_pylist() == [10, 20, 30, 40, 50]
    assert rows["bytes_after"].to_pylist() == [10, 0, 25, 40, 0]
    assert [json.loads(text) for text in rows["evidence"].to_pylist()][1] == {"value": 2.0, "threshold": 3.0}


def test_a_later_decision_wins() -> None:
    verdicts = Verdicts([10, 20], "unique")
    verdicts.drop([0, 1], "near", 0.9)
    verdicts.keep([1], "survivor")
    assert verdicts.is_kept.tolist() == [False, True]
    rows = verdicts.table(SHARD.slice(0, 2)).to_pylist()
    assert [(row["rule"], row["score"], row["bytes_after"]) for row in rows] == [
        ("near", 0.9, 0),
        ("survivor", None, 20),
    ]


def test_tallies_add_up_to_what_came_in() -> None:
    tallies = tally(decided())
    assert (tallies["web"].documents_in, tallies["web"].documents_out) == (3, 2)
    assert (tallies["web"].bytes_in, tallies["web"].bytes_out) == (60, 35)
    assert tallies["code"].dropped == {"short": 1}


def test_a_shard_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="got 5 documents, expected the 2"):
        Verdicts([1, 2], "passed").table(SHARD)
