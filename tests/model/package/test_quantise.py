"""Quantisation: the error bound, the packing and the bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from millrace.model.package.quantise import dequantise, pack_nibbles, quantise, unpack_nibbles

MATRICES = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=70),
    elements=st.floats(-1000, 1000, width=32),
)


@settings(max_examples=60, deadline=None)
@given(MATRICES, st.integers(1, 64), st.sampled_from([4, 8]))
def test_error_is_at_most_half_a_step(matrix: np.ndarray, group_size: int, bits: int) -> None:
    """Every weight comes back within half a step of its own group, plus one float32 rounding."""
    quantised = quantise(matrix, group_size=group_size, bits=bits)
    steps = np.repeat(quantised.scales.astype(np.float64), group_size, axis=1)[:, : matrix.shape[1]]
    error = np.abs(dequantise(quantised).astype(np.float64) - matrix)
    assert (error <= steps / 2 + np.abs(matrix) * 1e-6 + 1e-3 * steps).all()


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=33), elements=st.integers(0, 15))
)
def test_packing_round_trips(codes: np.ndarray) -> None:
    """Unpacking gives back the codes, also for rows of odd length, in half the bytes."""
    packed = pack_nibbles(codes)
    assert packed.shape[1] == (codes.shape[1] + 1) // 2
    np.testing.assert_array_equal(unpack_nibbles(packed, codes.shape[1]), codes)


def test_values_on_the_grid_are_exact() -> None:
    """A matrix whose groups are 16 evenly spaced values survives unchanged."""
    matrix = np.tile(np.arange(16, dtype=np.float32) * 0.25 - 2, (3, 2))
    np.testing.assert_array_equal(dequantise(quantise(matrix, group_size=16)), matrix)


def test_constant_and_zero_groups_are_kept() -> None:
    """A group of one repeated value has no step and comes back to float16's precision."""
    matrix = np.array([[0.0] * 8 + [1.5] * 8 + [0.1] * 8], np.float32)
    np.testing.assert_allclose(dequantise(quantise(matrix, group_size=8)), matrix, rtol=1e-3)


def test_smaller_groups_lose_less() -> None:
    """Mean squared error falls with the group size and with the bits."""
    matrix = np.random.default_rng(0).normal(size=(64, 256)).astype(np.float32)

    def loss(group_size: int, bits: int) -> float:
        return float(((dequantise(quantise(matrix, group_size=group_size, bits=bits)) - matrix) ** 2).mean())

    assert loss(256, 4) > loss(64, 4) > loss(16, 4) > loss(256, 8)


def test_size_is_five_bits_per_weight_at_groups_of_32() -> None:
    """Four bits of code and 32 bits of scale and minimum for every 32 weights."""
    quantised = quantise(np.ones((128, 320), np.float32), group_size=32)
    assert quantised.nbytes * 8 == 128 * 320 * 5


@pytest.mark.parametrize("bad", [np.nan, np.inf, 40_000.0])
def test_weights_that_do_not_fit_are_refused(bad: float) -> None:
    """A weight that float16 scales cannot hold is an error, not a silent infinity."""
    with pytest.raises(ValueError, match="not finite or too large"):
        quantise(np.array([[1.0, bad]], np.float32))
