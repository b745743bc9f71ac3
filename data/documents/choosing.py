"""Choices that depend on a seed and on the item itself, never on its place: order, machine and threads do not count."""

from __future__ import annotations

import hashlib


def keyed(seed: int, *parts: str) -> int:
    """A 64-bit number for these parts under this seed, uniform and independent between different parts."""
    key = seed.to_bytes(8, "big", signed=True)
    return int.from_bytes(hashlib.blake2b("\n".join(parts).encode(), digest_size=8, key=key).digest(), "big")


def is_chosen(fraction: float, seed: int, *parts: str) -> bool:
    """Whether these parts are among the given fraction of all."""
    return keyed(seed, *parts) < fraction * 2**64
