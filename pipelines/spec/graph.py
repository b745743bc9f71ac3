"""The graph of a spec's stages: running order, cycles, and the stages above and below one.

``graphlib`` sorts and finds cycles; the order in which it gives out ready stages is its own, so ``order`` picks among
them by the spec's.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter

from .models import Node

Edges = Mapping[str, tuple[str, ...]]


def needs(node: Node) -> tuple[str, ...]:
    """The stages that a stage takes inputs from, each once, in the order of its inputs."""
    return tuple(dict.fromkeys(stage for _, _, stage, _ in node.references()))


def order(nodes: Mapping[str, Node]) -> list[str]:
    """Stage names so that each comes after all it needs; of those that are ready the spec's first.

    Args:
        nodes: The stages by name, with every stage that they refer to.

    Raises:
        graphlib.CycleError: Stages need each other; ``cycles`` says which.
    """
    names = list(nodes)
    position = {name: number for number, name in enumerate(names)}
    sorter = TopologicalSorter({name: needs(node) for name, node in nodes.items()})
    sorter.prepare()
    ready: list[int] = []
    ordered = []
    while sorter.is_active():
        for name in sorter.get_ready():
            heapq.heappush(ready, position[name])
        name = names[heapq.heappop(ready)]
        sorter.done(name)
        ordered.append(name)
    return ordered


def cycles(nodes: Mapping[str, Node]) -> list[list[str]]:
    """Cycles that share no stage, at least one where there is any.

    Returns:
        The stages of each cycle, the spec's first at both ends, each needing the one after it. Stages outside of
        ``nodes`` count as absent.
    """
    found = []
    left = {name: [stage for stage in needs(node) if stage in nodes] for name, node in nodes.items()}
    while (cycle := _cycle(left)) is not None:
        start = cycle.index(min(cycle, key=list(nodes).index))
        found.append([*cycle[start:], *cycle[:start], cycle[start]])
        left = {
            name: [stage for stage in needed if stage not in cycle]
            for name, needed in left.items()
            if name not in cycle
        }
    return found


def ancestors(nodes: Mapping[str, Node], name: str) -> set[str]:
    """Every stage that a stage needs, directly or not."""
    return _reach(name, {node.name: needs(node) for node in nodes.values()})


def descendants(nodes: Mapping[str, Node], name: str) -> set[str]:
    """Every stage that needs this one, directly or not."""
    below: dict[str, tuple[str, ...]] = {}
    for node in nodes.values():
        for stage in needs(node):
            below[stage] = (*below.get(stage, ()), node.name)
    return _reach(name, below)


def _reach(start: str, edges: Edges) -> set[str]:
    """All names reachable from one, without itself."""
    found: set[str] = set()
    stack = list(edges.get(start, ()))
    while stack:
        name = stack.pop()
        if name not in found:
            found.add(name)
            stack.extend(edges.get(name, ()))
    return found - {start}


def _cycle(needed: Mapping[str, list[str]]) -> list[str] | None:
    """Some cycle, each stage needing the one after it, or None."""
    try:
        TopologicalSorter(needed).prepare()
    except CycleError as error:
        path: list[str] = error.args[1]  # each needed by the next, the first again at the end
        return path[:0:-1]
    return None
