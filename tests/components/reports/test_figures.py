"""Figures are short, keep their digits, and read back as what they were."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.components.reports.figures import count, number, size

UNITS = {"B": 0, "KiB": 1, "MiB": 2, "GiB": 3, "TiB": 4}


def test_numbers_read_well() -> None:
    """Whole ones have all digits, others four and one behind the point from 100 on; nothing is shown for none."""
    values = (1234567, 12.0, 0.03125, 1234.56, 1e-9, None, float("nan"), 0)
    assert [number(value) for value in values] == [
        "1,234,567",
        "12",
        "0.03125",
        "1,234.6",
        "1e-09",
        "",
        "",
        "0",
    ]
    assert number(None, "-") == number(float("nan"), "-") == "-"
    assert number(float("inf")) == "inf"


@given(st.floats(-1e15, 1e15))
def test_a_number_reads_back(value: float) -> None:
    """Four digits are kept below 100, and a tenth above."""
    assert float(number(value).replace(",", "")) == pytest.approx(value, rel=6e-4, abs=0.0)


@given(st.floats(0, 1e15))
def test_counts_and_sizes_read_back(value: float) -> None:
    """A count is right to its last digit shown, and so is a size in its unit; both fit into a column."""
    digits, factor = count(value), {"k": 1e3, "M": 1e6, "G": 1e9}.get(count(value)[-1], 1)
    assert float(digits.rstrip("kMG").replace(",", "")) * factor == pytest.approx(
        value, abs=0.51 * max(factor / 10, 1)
    )
    shown, unit = size(value).split(" ")
    assert float(shown) * 1024 ** UNITS[unit] == pytest.approx(value, abs=0.51 * 1024 ** UNITS[unit])
    assert max(len(digits), len(size(value))) <= 16


def test_units_change_at_their_borders() -> None:
    """Ten thousand is the last count in full less one, 1024 of a unit are one of the next."""
    assert [count(value) for value in (9_999, 10_000, 1_234_567, 5e9)] == ["9,999", "10.0k", "1.2M", "5.0G"]
    assert [size(value) for value in (1023, 1024, 3.5 * 2**20, 2**30)] == [
        "1023 B",
        "1 KiB",
        "4 MiB",
        "1.0 GiB",
    ]
