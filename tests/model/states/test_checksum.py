"""The checksum is the one that NumPy computes, and notices every flipped bit and every exchange."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.model.states import checksum

TREE: dict[str, jax.Array] = {
    "a": jnp.linspace(-1, 1, 24, dtype=jnp.float32).reshape(2, 3, 4),
    "b": jnp.arange(5, dtype=jnp.bfloat16),
}


def mix(word: int) -> int:
    for shift, factor in checksum.MIX:
        word = (word ^ word >> shift) * factor % 2**32
    return word ^ word >> 16


def test_it_is_the_sum_of_mixed_words() -> None:
    """Computed word by word with Python's integers, over row-major positions."""
    words: list[np.ndarray] = [
        np.asarray(TREE["a"]).reshape(-1).view(np.uint32),
        np.asarray(TREE["b"]).view(np.uint16),
    ]
    expected = [
        sum(
            mix(int(w) ^ mix(p ^ mix((n + salt) % 2**32)))
            for n, part in enumerate(words)
            for p, w in enumerate(part)
        )
        % 2**32
        for salt in checksum.SALTS
    ]
    assert jax.jit(checksum.of_tree)(TREE).tolist() == expected


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 23), st.integers(0, 31))
def test_one_flipped_bit_changes_both_sums(place: int, bit: int) -> None:
    """Any bit of any element."""
    flipped = np.array(TREE["a"])
    flipped.reshape(-1).view(np.uint32)[place] ^= np.uint32(1 << bit)
    assert not (checksum.of_tree(TREE) == checksum.of_tree(TREE | {"a": jnp.asarray(flipped)})).any()


@pytest.mark.parametrize(
    "other", [{"a": TREE["a"][::-1]}, {"a": TREE["b"], "b": TREE["a"]}, {"a": TREE["a"] * 1.001}]
)
def test_exchanged_elements_and_arrays_change_it(other: dict[str, jax.Array]) -> None:
    """The same words elsewhere are another checksum."""
    assert (checksum.of_tree(TREE) != checksum.of_tree(TREE | other)).all()
