"""Canonical JSON and digests: equal values have equal bytes, and a value that is not stable raises."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def canonical_json(value: Any) -> bytes:
    """The one JSON text of a value: sorted keys, no blanks, UTF-8, shortest floats that round-trip.

    Raises:
        TypeError: The value holds something JSON has no stable form for (a set, a path, an object).
        ValueError: The value holds NaN or an infinity.
    """
    _require_plain(value, "value")
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON, hex."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def stage_key(
    *,
    component: str,
    code: str,
    config: Any,
    seed: int,
    inputs: Mapping[str, Any],
    fingerprint: Any,
    lineage: Any,
) -> str:
    """The stage key, 64 hex digits: equal where a stage's outputs can be reused.

    Args:
        component: The component's name.
        code: The digest of its code.
        config: The semantic configuration, JSON values.
        seed: The spec's seed.
        inputs: Port -> artifact digest, or label -> digest for ports that take many. The order of labels counts,
            because a component sees them in it.
        fingerprint: What the component reads outside the store, or None.
        lineage: The upstream records that the component reads, or None.
    """
    labels = {port: list(value) for port, value in inputs.items() if not isinstance(value, str)}
    return digest(
        {
            "component": component,
            "code": code,
            "config": config,
            "seed": seed,
            "inputs": inputs,
            "labels": labels,
            "fingerprint": fingerprint,
            "lineage": lineage,
        }
    )


def _require_plain(value: Any, path: str) -> None:
    if value is None or isinstance(value, str | bool | int | float):
        return
    if isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _require_plain(item, f"{path}[{index}]")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"{path} has the key {key!r}, expected a string")
            _require_plain(item, f"{path}.{key}")
    else:
        raise TypeError(f"{path} is a {type(value).__name__}, which has no stable JSON form")
