"""Durations in seconds."""

from __future__ import annotations

import pytest

from millrace.pipelines.spec.durations import seconds


@pytest.mark.parametrize(
    ("text", "value"), [("90s", 90), ("2m", 120), ("3h", 10_800), ("1d", 86_400), ("0s", 0)]
)
def test_every_unit(text: str, value: int) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["90", "s", "2 weeks", "1.5h"])
def test_anything_else_is_none(text: str) -> None:
    with pytest.raises((KeyError, ValueError)):
        seconds(text)
