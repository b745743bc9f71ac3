"""Canonical JSON: one text for one value, and what cannot change the bytes stays out."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from millrace.components.contract import Config, runtime
from millrace.pipelines.store.canonical import canonical_json, digest, semantic

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=16,
)


def shuffled(value: Any, order: random.Random) -> Any:
    if isinstance(value, dict):
        keys = list(value)
        order.shuffle(keys)
        return {key: shuffled(value[key], order) for key in keys}
    return [shuffled(item, order) for item in value] if isinstance(value, list) else value


@given(JSON)
def test_the_text_reads_back_as_the_value_and_is_its_own_canonical_form(value: Any) -> None:
    text = canonical_json(value)
    assert json.loads(text) == value
    assert canonical_json(json.loads(text)) == text


@given(JSON, st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_count(value: Any, order: random.Random) -> None:
    assert digest(shuffled(value, order)) == digest(value)


@given(JSON, JSON)
def test_different_values_have_different_digests(one: Any, other: Any) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (digest(one) == digest(other)) == same


@pytest.mark.parametrize("value", [{1}, b"a", Path("a"), object(), {1: 2}, {"a": [{"b": {3}}]}, 1j])
def test_what_has_no_stable_form_raises(value: Any) -> None:
    with pytest.raises(TypeError, match="value"):
        canonical_json(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, [-math.inf], "\ud800"])
def test_what_json_cannot_hold_raises(value: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (a surrogate raises UnicodeEncodeError, which is one)
        canonical_json(value)


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
