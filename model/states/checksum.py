"""A checksum of parameters, computed on the device: 64 bits over every position, independent of the order of additions.

Each 32-bit word is mixed with its position and its array's number by a bijection of 32-bit words, and the results are
summed modulo 2**32. A sum does not depend on the order of the additions, so every layout over devices gives the same
value, where a float sum would not. A change of one word always changes the sum, because the mixing is a bijection;
so does exchanging words, because their positions are mixed in. Two sums with different constants let any other change
pass with probability 2**-64.

References:
    Appleby 2011, MurmurHash3, fmix32 (the mixing function).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

SALTS = (0x9E3779B9, 0x7F4A7C15)
MIX = ((16, 0x85EBCA6B), (13, 0xC2B2AE35))


def of_tree(tree: Any) -> jax.Array:
    """The checksum of a pytree of arrays of at most 32 bits an element.

    Args:
        tree: Arrays of any shapes; their order is the pytree's.

    Returns:
        uint32 [2].
    """
    sums = [jnp.zeros((), jnp.uint32) for _ in SALTS]
    for number, leaf in enumerate(jax.tree.leaves(tree)):
        words, position = _words(leaf), _positions(leaf.shape)
        for index, salt in enumerate(SALTS):
            place = _mix(position ^ _mix(jnp.uint32(number) + jnp.uint32(salt)))
            sums[index] += jnp.sum(_mix(words ^ place), dtype=jnp.uint32)
    return jnp.stack(sums)


def _words(array: jax.Array) -> jax.Array:
    """The bits of every element, as uint32 of the array's shape."""
    if array.dtype == jnp.bool_:
        return array.astype(jnp.uint32)
    width = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}[array.dtype.itemsize]
    return jax.lax.bitcast_convert_type(array, width).astype(jnp.uint32)


def _positions(shape: tuple[int, ...]) -> jax.Array:
    """The row-major number of every element, modulo 2**32: without a reshape, which could move sharded data."""
    position, stride = jnp.zeros(shape, jnp.uint32), 1
    for axis in reversed(range(len(shape))):
        position += jax.lax.broadcasted_iota(jnp.uint32, shape, axis) * jnp.uint32(stride % 2**32)
        stride *= shape[axis]
    return position


def _mix(words: jax.Array) -> jax.Array:
    for shift, factor in MIX:
        words = (words ^ (words >> jnp.uint32(shift))) * jnp.uint32(factor)
    return words ^ (words >> jnp.uint32(16))
