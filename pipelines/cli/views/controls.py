"""Control characters of documents and models as a terminal may show them: a text must not move its cursor or title."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

Value = TypeVar("Value")
SHOWN_CONTROLS = {
    code: "\N{REPLACEMENT CHARACTER}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"
}


def without_controls(value: Value) -> Value:
    """A value with U+FFFD in place of every control character but newline and tab.

    Args:
        value: A text, or dataclasses, mappings, lists and tuples of texts; anything else is returned as it is.
    """
    replaced: Value = _replaced(value)
    return replaced


def _replaced(value: Any) -> Any:
    if isinstance(value, str):
        return value.translate(SHOWN_CONTROLS)
    if isinstance(value, Mapping):
        return {_replaced(key): _replaced(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_replaced, value))
    if is_dataclass(value) and not isinstance(value, type):
        return replace(
            value, **{field.name: _replaced(getattr(value, field.name)) for field in fields(value)}
        )
    return value
