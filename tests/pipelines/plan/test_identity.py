"""The stage key: what changes it and what does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.components import registry
from millrace.components.contract import Upstream
from millrace.pipelines.plan.code_identity import CodeIdentity, CodeIndex
from millrace.pipelines.plan.identity import Identity, identify, stage_seed
from millrace.pipelines.spec.models import Node, resolve
from millrace.pipelines.spec.source_map import Source

ONE = Identity("filter", CodeIdentity("c" * 64, {"a": {"f": "1"}}), {"rate": 1.0}, 0, {"documents": "d" * 64})
UPSTREAM = (Upstream("read", "toy_source", {"text": "a"}, {"documents": "d"}, {"documents_out": 1.0}),)


@pytest.mark.parametrize(
    "change",
    [
        {"component": "dedup"},
        {"code": CodeIdentity("e" * 64, {})},
        {"config": {"rate": 2.0}},
        {"seed": 1},
        {"inputs": {"documents": "e" * 64}},
        {"inputs": {"other": "d" * 64}},
        {"fingerprint": [1]},
        {"lineage": [{}]},
    ],
    ids=lambda change: "-".join(change),
)
def test_every_part_of_an_identity_counts(change: dict[str, Any]) -> None:
    assert replace(ONE, **change).key != ONE.key


def test_of_the_code_only_the_digest_counts() -> None:
    assert replace(ONE, code=CodeIdentity("c" * 64, {})).key == ONE.key


@given(st.permutations(["a", "b", "c"]), st.permutations(["p", "q"]))
def test_the_order_of_labels_counts_and_that_of_ports_does_not(labels: list[str], ports: list[str]) -> None:
    def key(ports: list[str], labels: list[str]) -> str:
        return replace(ONE, inputs={port: dict.fromkeys(labels, "d" * 64) for port in ports}).key

    assert (key(ports, labels) == key(["p", "q"], ["a", "b", "c"])) == (labels == ["a", "b", "c"])


def node(component: str, **config: Any) -> Node:
    spec = {"name": "a", "stages": {"s": {"uses": component, "with": config}}}
    return resolve(Source(spec), Path()).nodes["s"]


@pytest.mark.usefixtures("toys")
@pytest.mark.parametrize(("component", "reads"), [("toy_step", False), ("toy_package", True)])
def test_lineage_counts_only_for_components_that_read_it(component: str, reads: bool, tmp_path: Path) -> None:
    code = CodeIndex(tmp_path / "cache")
    keys = [identify(node(component), 0, {}, lineage, code).key for lineage in ((), UPSTREAM)]
    assert (keys[0] != keys[1]) == reads


@pytest.mark.usefixtures("toys")
def test_a_relative_path_outside_the_store_counts_from_the_specs_folder(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("one")
    code, source = CodeIndex(tmp_path / "cache"), node("toy_source", file="in.txt")
    found, missing = (identify(source, 0, {}, (), code, folder) for folder in (tmp_path, Path()))
    assert found.fingerprint[:2] == ["in.txt", 3]
    assert missing.fingerprint == ["in.txt"]


@given(st.integers(0, 2**31 - 1))
def test_components_get_seeds_of_their_own_unless_they_draw_as_another_does(seed: int) -> None:
    seeds = {name: stage_seed(seed, name) for name in registry.names()}
    assert all(0 <= value < 2**31 for value in seeds.values())
    alone = [name for name in seeds if registry.get(name).seed_of is None]
    assert len({seeds[name] for name in alone}) == len(alone)
    for name in seeds:
        assert seeds[name] == seeds[registry.get(name).seed_of or name]
