"""Canonical JSON and digests: equal values have equal bytes, and a value that is not stable raises."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from millrace.components.contract import is_semantic


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


def semantic(model: BaseModel) -> dict[str, Any]:
    """A configuration as JSON values, without the fields that cannot change the output's bytes.

    Args:
        model: The configuration; nested models are treated the same way.
    """
    plain = model.model_dump(mode="json", by_alias=True)
    return _without_runtime(model, plain)


def _without_runtime(value: Any, plain: Any) -> Any:
    if isinstance(value, BaseModel):
        kept = {}
        for name, info in type(value).model_fields.items():
            key = info.alias or name
            if is_semantic(info):
                kept[key] = _without_runtime(getattr(value, name), plain[key])
        return kept
    if isinstance(value, Mapping):
        return {
            key: _without_runtime(item, other)
            for (_, item), (key, other) in zip(value.items(), plain.items(), strict=True)
        }
    if isinstance(value, set | frozenset):
        raise TypeError("a configuration holds a set, which has no stable order; make it a tuple")
    if isinstance(value, list | tuple):
        return [_without_runtime(item, other) for item, other in zip(value, plain, strict=True)]
    return plain


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
