"""A report's sum over shards is the same however documents are cut into them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.components.filter import findings
from millrace.components.filter.rule import Bound
from millrace.data.documents.decisions import Verdicts

SHARE = Bound("r.max_share", "share", is_minimum=False, threshold=0.5)
COUNT = Bound("r.min_count", "count", is_minimum=True, threshold=4.0)


def find(documents: list[tuple[str, float, float]]) -> dict[str, Any]:
    """Of documents (id, share, count) of one source in one shard, dropped by the first bound that they break."""
    values = [np.array([document[at] for document in documents], np.float64) for at in (1, 2)]
    broken = [bound.broken(own) for bound, own in zip((SHARE, COUNT), values, strict=True)]
    deciding = np.where(broken[0], 0, np.where(broken[1], 1, -1))
    verdicts = Verdicts(np.full(len(documents), 10), "passed")
    for at, bound in enumerate((SHARE, COUNT)):
        verdicts.drop(np.flatnonzero(deciding == at), bound.name, values[at][deciding == at])
    table = pa.table({"doc_id": [row[0] for row in documents], "text": ["x" * 500] * len(documents)})
    edits = {"r": values[1].astype(np.int64)}
    return findings.find((SHARE, COUNT), values, deciding, np.arange(len(documents)), edits, verdicts, table)


DOCUMENTS = st.lists(
    st.tuples(
        st.text("abcdef", min_size=3, max_size=3),
        st.sampled_from([0.0, 0.2, 0.5, 0.7, 1.0, float("nan")]),
        st.sampled_from([0.0, 3.0, 4.0, 9.0, 1e9]),
    ),
    unique_by=lambda row: row[0],
    max_size=20,
)


@given(DOCUMENTS, st.integers(0, 20))
def test_the_sum_over_shards_is_what_one_shard_says(documents: list[Any], cut: int) -> None:
    total: dict[str, Any] = {}
    for part in (documents[:cut], documents[cut:]):
        findings.add(total, find(part))
    assert total == find(documents)


@given(DOCUMENTS)
def test_counts_and_examples_are_those_of_brute_force(documents: list[Any]) -> None:
    found = find(documents)
    dropped = [row for row in documents if row[1] > 0.5]
    kept = [row for row in documents if not row[1] > 0.5 and not row[2] < 4]
    share = found["bounds"][0]
    assert sum(share["counts"]) == sum(row[1] == row[1] for row in documents)
    assert (share["broken"], share["dropped"], share["dropped_bytes"]) == (
        len(dropped),
        len(dropped),
        10 * len(dropped),
    )
    for kind, rows in (("dropped", dropped), ("kept", kept)):
        nearest = sorted((abs(row[1] - 0.5), row[0]) for row in rows if row[1] == row[1])[:3]
        assert [(example[0], example[1]) for example in share["examples"][kind]] == nearest
        assert all(len(example[3]) == findings.QUOTE_CHARACTERS for example in share["examples"][kind])
    edited = [row[2] for row in documents if row[2] > 0]
    assert found["edits"]["r"] == [len(edited), int(sum(edited))]


@pytest.mark.parametrize(("bound", "last", "bins"), [(SHARE, 1.0, 25), (COUNT, float(1 << 20), 21)])
def test_shares_have_even_bins_and_counts_powers_of_two(bound: Bound, last: float, bins: int) -> None:
    edges = findings.edges_of(bound)
    assert (edges[0], edges[-1], len(edges) - 1) == (0.0, last, bins)
    assert edges == sorted(set(edges))
