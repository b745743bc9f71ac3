"""Control characters are shown and not obeyed."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from millrace.pipelines.cli.views.controls import without_controls


@dataclass(frozen=True)
class Found:
    text: str
    count: int
    inner: tuple[Found, ...] = ()


@given(st.text())
def test_only_control_characters_are_replaced(text: str) -> None:
    shown = without_controls(text)
    assert len(shown) == len(text)
    for before, after in zip(text, shown, strict=True):
        is_control = ord(before) < 32 or 127 <= ord(before) < 160
        assert after == ("\ufffd" if is_control and before not in "\n\t" else before)


def test_texts_are_found_at_any_depth() -> None:
    found = Found("a\x1b", 1, (Found("\x9b", 2),))
    assert without_controls({"\r": [found, None]}) == {
        "\ufffd": [Found("a\ufffd", 1, (Found("\ufffd", 2),)), None]
    }
