"""Products with weights are einsums, whatever axes they contract; capped logits keep their order and stay in bounds."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from millrace.model.network.linear import linear, soft_cap


@pytest.mark.parametrize(
    ("inputs", "shape", "weight", "einsum"),
    [
        (1, (4,), (4, 5), "BTD,DF->BTF"),
        (1, (4,), (4, 3, 2), "BTD,DNH->BTNH"),
        (2, (3, 2), (3, 2, 4), "BTNH,NHD->BTD"),
    ],
)
def test_it_is_an_einsum(inputs: int, shape: tuple[int, ...], weight: tuple[int, ...], einsum: str) -> None:
    """Against NumPy, in the states' type whatever the weight's."""
    draw = np.random.default_rng(0)
    x, w = draw.normal(size=(2, 3, *shape)), draw.normal(size=weight)
    found = linear(jnp.asarray(x, jnp.float32), jnp.asarray(w, jnp.float32), inputs)
    np.testing.assert_allclose(found, np.einsum(einsum, x, w), rtol=1e-5, atol=1e-5)
    half = linear(jnp.asarray(x, jnp.bfloat16), jnp.asarray(w, jnp.float32), inputs)
    assert half.dtype == jnp.bfloat16


def test_a_cap_bounds_large_logits_and_leaves_small_ones() -> None:
    """Between minus and plus the cap, rising, the identity near zero; none leaves all alone."""
    logits = jnp.linspace(-100, 100, 201, dtype=jnp.float32)
    capped = np.asarray(soft_cap(logits, 5.0))
    assert np.abs(capped).max() <= 5
    assert (np.diff(capped) >= 0).all()
    np.testing.assert_allclose(soft_cap(logits / 1000, 5.0), logits / 1000, rtol=2e-4)
    assert soft_cap(logits, None) is logits
