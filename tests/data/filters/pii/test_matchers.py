"""Addresses and numbers: what is taken out, and what only looks like it."""

from __future__ import annotations

import pytest
from tests.data.filters.pii.examples import FOUND, LEFT, edited


@pytest.mark.parametrize(("text", "expected"), FOUND)
def test_personal_data_is_replaced(text: str, expected: str) -> None:
    assert edited(text) == expected


@pytest.mark.parametrize("text", LEFT)
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert edited(text) == text
