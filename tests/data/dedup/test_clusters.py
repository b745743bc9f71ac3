"""Clusters are connected components, whatever the order of the edges, and their survivors the preferred members."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.data.dedup import clusters

EDGES = st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=30)


def by_search(count: int, edges: list[tuple[int, int]]) -> list[int]:
    """The smallest node that each node reaches, by walking."""
    labels = []
    for node in range(count):
        reached, fresh = {node}, [node]
        while fresh:
            here = fresh.pop()
            for one, two in [*edges, *((b, a) for a, b in edges)]:
                if one == here and two not in reached:
                    reached.add(two)
                    fresh.append(two)
        labels.append(min(reached))
    return labels


@settings(deadline=None)
@given(EDGES, st.randoms())
def test_components_equal_a_search(edges: list[tuple[int, int]], draw: random.Random) -> None:
    """Labels agree with walking the graph and do not depend on the order of the edges."""
    expected = by_search(20, edges)
    assert clusters.components(20, np.array(edges, np.int64).reshape(-1, 2)).tolist() == expected
    draw.shuffle(edges)
    assert clusters.components(20, np.array(edges, np.int64).reshape(-1, 2)).tolist() == expected


def test_a_long_chain_is_one_component() -> None:
    """Two hundred thousand links in the worst order take no more than a moment."""
    nodes = np.random.default_rng(0).permutation(200_001)
    chain = np.stack([nodes[:-1], nodes[1:]], axis=1)
    assert not clusters.components(200_001, chain).any()


@settings(deadline=None)
@given(EDGES, st.lists(st.integers(0, 3), min_size=20, max_size=20))
def test_survivors_are_the_preferred_members(edges: list[tuple[int, int]], preference: list[int]) -> None:
    """Each cluster keeps its lowest preference, of equals the lowest node."""
    labels = clusters.components(20, np.array(edges, np.int64).reshape(-1, 2))
    found = clusters.survivors(labels, np.array(preference))
    for node in range(20):
        members = [other for other in range(20) if labels[other] == labels[node]]
        assert found[node] == min(members, key=lambda member: (preference[member], member))
