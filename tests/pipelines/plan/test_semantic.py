"""Configurations: a field that cannot change the bytes stays out of the key, every other one counts."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from millrace.components.contract import Config, runtime
from millrace.pipelines.plan.semantic import semantic
from millrace.pipelines.store.canonical import digest


class Inner(Config):
    rate: float = 0.5
    workers: int = runtime(1)


class Outer(Config):
    name: str = "a"
    log_every_steps: int = runtime(10)
    inner: Inner = Inner()
    by_name: dict[str, Inner] = Field(default_factory=dict)
    in_order: tuple[Inner, ...] = ()
    either: Inner | int = 3


def with_workers(workers: int, log: int) -> Outer:
    inner = Inner(workers=workers)
    return Outer(
        log_every_steps=log, inner=inner, by_name={"x": inner}, in_order=(inner, inner), either=inner
    )


@given(st.integers(1, 99), st.integers(1, 99))
def test_runtime_fields_stay_out_at_every_depth(workers: int, log: int) -> None:
    assert semantic(with_workers(workers, log)) == semantic(with_workers(1, 1))
    assert "workers" not in json.dumps(semantic(with_workers(workers, log)))


def test_every_other_field_counts() -> None:
    changed = [
        Outer(name="b"),
        Outer(inner=Inner(rate=1)),
        Outer(in_order=(Inner(),)),
        Outer(either=4),
        Outer(),
    ]
    assert len({digest(semantic(config)) for config in changed}) == len(changed)


def test_defaults_written_out_are_the_same_configuration() -> None:
    assert semantic(Outer.model_validate({"name": "a", "inner": {"rate": 0.5}})) == semantic(Outer())


def test_a_set_in_a_configuration_raises_because_its_order_is_not_stable() -> None:
    class Loose(Config):
        words: frozenset[str] = frozenset({"a", "b"})

    with pytest.raises(TypeError, match="make it a tuple"):
        semantic(Loose())
