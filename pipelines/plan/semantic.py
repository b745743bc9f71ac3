"""The part of a configuration that counts: without the fields that cannot change the output's bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from millrace.components.contract import is_semantic


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
