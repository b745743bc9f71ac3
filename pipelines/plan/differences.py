"""The differences between two JSON values, as lines that a person can read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

SHOWN = 60


def differences(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """Every leaf that differs: ``learning_rate 0.001 -> 0.002``.

    Args:
        old: The value before.
        new: The value after.
        path: Dotted path that the lines start with.
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted(old.keys() | new.keys()):
            inner = f"{path}.{key}" if path else key
            if key not in old:
                yield f"{inner} added ({_short(new[key])})"
            elif key not in new:
                yield f"{inner} removed ({_short(old[key])})"
            else:
                yield from differences(old[key], new[key], inner)
    elif isinstance(old, list | tuple) and isinstance(new, list | tuple) and len(old) == len(new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from differences(before, after, f"{path}[{index}]")
    elif old != new:
        yield f"{path} {_short(old)} -> {_short(new)}".strip()


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."
