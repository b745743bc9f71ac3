"""The copy that stays and the link that a cluster's evidence names, against brute force over edges and by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.components.dedup.corpora import decisions_of, kept, text, write_corpus
from tests.conftest import RunComponent

from millrace.components.contract import ComponentError
from millrace.components.dedup import clustering

EDGES = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 5), st.sampled_from([0.8, 0.9, 1.0])), max_size=12
)


@given(EDGES, st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=6, unique_by=lambda one: one[0]))
def test_the_link_that_is_named_is_the_most_similar_one(
    edges: list[tuple[int, int, float]], asked: list[tuple[int, bool]]
) -> None:
    """Of equals the lowest; none for a node that was not asked about or has no link."""
    asked.sort()
    ends = np.array([edge[:2] for edge in edges], np.int64).reshape(-1, 2)
    weights = np.array([edge[2] for edge in edges])
    nodes, wanted = np.array([one[0] for one in asked], np.int64), np.array([one[1] for one in asked], bool)
    via, similarity = clustering._closest(ends, weights, nodes, wanted)
    for place, (node, is_wanted) in enumerate(asked):
        links = [(-w, b if a == node else a) for a, b, w in edges if node in (a, b)]
        if is_wanted and links:
            assert (-similarity[place], via[place]) == min(links)
        else:
            assert via[place] == -1
            assert np.isnan(similarity[place])


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=12))
def test_a_group_is_named_by_its_first_row(rows: list[tuple[int, int]]) -> None:
    values = np.array(rows, np.uint64).reshape(-1, 2)
    assert clustering._groups(values).tolist() == [rows.index(row) for row in rows]


def test_edges_join_what_has_one_address() -> None:
    """Each with the first that has it; a document without an address is joined to none."""
    edges = clustering._same_url(np.array([0, 7, 0, 9, 7, 7], np.uint64))
    assert edges.tolist() == [[4, 1], [5, 1]]


COPIES = [
    {"source": "a", "metadata": {"date": "2020-05-01", "made": 1990, "score": 1, "rank": 9}},
    {"source": "b", "metadata": {"date": 2019, "made": "1980-01-01", "score": "7.5", "rank": 2}},
    {"source": "c", "metadata": {"date": 1_400_000_000, "made": 2000, "score": 3, "rank": 3}},
    {"source": "d", "metadata": {"date": "unknown", "score": None}},
]
"""Of one text; each is longer than the one before."""


@pytest.mark.parametrize(
    ("config", "stays"),
    [
        ({}, 3),
        ({"survivor": "first"}, 0),
        ({"survivor": "earliest", "date_field": "date"}, 2),
        ({"survivor": "earliest", "date_field": "made"}, 1),
        ({"survivor": "earliest", "date_field": "absent"}, 3),
        ({"survivor": "best_score", "score_field": "score"}, 1),
        ({"survivor": "best_score", "score_field": "rank"}, 0),
        ({"survivor": "source_order", "source_order": ["c", "b", "a", "d"]}, 2),
        ({"survivor": "source_order", "source_order": ["b"]}, 1),
    ],
)
def test_the_policy_chooses_the_copy(
    run_component: RunComponent, tmp_path: Path, config: dict[str, Any], stays: int
) -> None:
    """Documents without a date or score come last; of equals the longest stays."""
    rows = [
        {**copy, "text": text(0) + " " * size, "metadata": json.dumps(copy["metadata"])}
        for size, copy in enumerate(COPIES)
    ]
    done = run_component("dedup", config, {"documents": write_corpus(tmp_path / "c", [*rows, text(1)])})
    assert kept(done.outputs["documents"]) == [f"file{stays}", "file4"]


def test_a_source_that_did_not_come_in_is_refused(run_component: RunComponent, tmp_path: Path) -> None:
    config = {"survivor": "source_order", "source_order": ["a", "wiki"]}
    with pytest.raises(ComponentError, match="got source 'wiki' in source_order"):
        run_component("dedup", config, {"documents": write_corpus(tmp_path / "c", [text(0), text(1)])})


@pytest.mark.parametrize(
    ("config", "dropped"),
    [
        ({}, []),
        ({"url": True}, ["https://www.a/b/?utm_source=x"]),
        ({"url": True, "url_field": "link"}, ["x3"]),
        ({"url": True, "url_field": "absent"}, []),
    ],
)
def test_the_address_is_that_of_the_field_that_is_named(
    run_component: RunComponent, tmp_path: Path, config: dict[str, Any], dropped: list[str]
) -> None:
    """By the column uri or by the metadata's key, and by neither unless it is asked for."""
    uris = ["http://a/b", "https://www.a/b/?utm_source=x", "x2", "x3"]
    links = ["http://c/1", "http://c/2", "http://d", "http://d/"]
    rows = [
        {"text": text(i, 200 - i), "uri": uri, "metadata": json.dumps({"link": link})}
        for i, (uri, link) in enumerate(zip(uris, links, strict=True))
    ]
    done = run_component("dedup", config, {"documents": write_corpus(tmp_path / "c", rows)})

    assert kept(done.outputs["documents"]) == [uri for uri in uris if uri not in dropped]
    rules = [
        row["rule"] for row in decisions_of(done.outputs["decisions"]).values() if row["action"] == "drop"
    ]
    assert rules == ["url"] * len(dropped)
