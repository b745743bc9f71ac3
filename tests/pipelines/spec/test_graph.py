"""The graph of stages, against brute force on random graphs."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from graphlib import CycleError
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.pipelines.spec.graph import ancestors, cycles, descendants, needs, order
from millrace.pipelines.spec.models import Node, resolve
from millrace.pipelines.spec.source_map import parse

EDGES = st.sets(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12)
NAMES = st.permutations([f"s{number}" for number in range(7)])


def nodes_of(edges: set[tuple[int, int]], names: list[str]) -> Mapping[str, Node]:
    """Stages in the order of ``names``; an edge (a, b) is stage ``sb`` that needs ``sa``."""
    stages = {
        name: {
            "uses": "evaluate",
            "inputs": {
                "instructions": {f"l{a}": f"s{a}.report" for a, b in sorted(edges) if f"s{b}" == name}
            },
        }
        for name in names
    }
    return resolve(parse(json.dumps({"name": "a", "stages": stages}), "f"), Path()).nodes


def reachable(edges: set[tuple[int, int]]) -> set[tuple[int, int]]:
    reach = set(edges)
    while more := {(a, d) for a, b in reach for c, d in reach if b == c} - reach:
        reach |= more
    return reach


@given(EDGES, NAMES)
def test_ancestors_and_descendants_are_what_is_reachable(
    edges: set[tuple[int, int]], names: list[str]
) -> None:
    nodes, reach = nodes_of(edges, names), reachable(edges)
    for number in range(7):
        others = set(range(7)) - {number}
        assert ancestors(nodes, f"s{number}") == {f"s{a}" for a, b in reach if b == number and a in others}
        assert descendants(nodes, f"s{number}") == {f"s{b}" for a, b in reach if a == number and b in others}


@given(EDGES, NAMES)
def test_the_next_stage_is_the_first_in_the_spec_that_has_all_it_needs(
    edges: set[tuple[int, int]], names: list[str]
) -> None:
    edges = {(a, b) for a, b in edges if a < b}
    nodes, expected = nodes_of(edges, names), list[str]()
    while len(expected) < len(names):
        ready = [name for name in names if name not in expected and {*needs(nodes[name])} <= {*expected}]
        expected.append(ready[0])
    assert order(nodes) == expected


@given(EDGES, NAMES)
def test_cycles_share_no_stage_and_leave_a_graph_that_has_an_order(
    edges: set[tuple[int, int]], names: list[str]
) -> None:
    nodes = nodes_of(edges, names)
    found = cycles(nodes)
    for cycle in found:
        assert cycle[0] == cycle[-1] == min(cycle, key=names.index)
        assert all(below in needs(nodes[stage]) for stage, below in itertools.pairwise(cycle))
    stages = [stage for cycle in found for stage in cycle[1:]]
    assert len(stages) == len(set(stages))
    assert cycles({name: node for name, node in nodes.items() if name not in stages}) == []
    if found:
        with pytest.raises(CycleError):
            order(nodes)


def test_a_stage_that_the_spec_does_not_have_is_in_no_cycle() -> None:
    nodes = nodes_of({(0, 1), (1, 0)}, ["s1"])
    assert cycles(nodes) == []
