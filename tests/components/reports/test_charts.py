"""Charts place what they draw where its values are."""

from __future__ import annotations

import re

import pytest

from millrace.components.reports import charts


def test_bins_beyond_a_threshold_are_set_apart_and_the_threshold_is_drawn() -> None:
    made = charts.histogram([5, 5, 5, 5], [0.0, 1.0, 2.0, 3.0, 4.0], maximum=2.0)
    assert made.count('class="bar"') == made.count('class="over"') == 2
    assert 'x1="180.0"' in made


def test_bins_beyond_a_threshold_are_marked_and_those_that_hold_a_bound_at_the_end_are_not() -> None:
    def marked(minimum: float | None = None, maximum: float | None = None) -> list[bool]:
        made = charts.histogram([1, 1, 1], [0.0, 1.0, 2.0, 3.0], "", minimum, maximum)
        return [part.startswith("over") for part in made.split('<rect class="')[1:]]

    assert marked(maximum=1.0) == [False, True, True]
    assert marked(maximum=1.5) == [False, False, True]
    assert marked(maximum=0.0) == [False, True, True]
    assert marked(minimum=2.0) == [True, True, False]
    assert marked(minimum=3.0) == [True, True, False]


def test_a_scatter_draws_equal_values_on_its_diagonal_and_names_what_is_marked() -> None:
    """From the lower left to the upper right; an error is drawn on both sides; names are escaped and stand clear."""
    drawn = charts.scatter(
        [(1.0, 1.0), (3.0, 3.0)], {"<best>": (2.0, 2.0, 0.5), "next": (2.0, 2.01, 0.0)}, "A & B", ("x", "y")
    )
    circles = [tuple(map(float, found)) for found in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', drawn)]
    (x0, y0), (x1, y1), (x2, y2), _ = circles
    assert x0 < x2 < x1
    assert y0 > y2 > y1
    assert x1 - x0 == pytest.approx(y0 - y1)
    across = re.search(r'<line class="mark" x1="([\d.]+)" x2="([\d.]+)"', drawn)
    assert across is not None
    assert float(across[2]) - float(across[1]) == pytest.approx((x1 - x0) / 2, abs=0.2)
    heights = [float(y) for y in re.findall(r'y="([\d.]+)">(?:&lt;best&gt;|next)<', drawn)]
    assert abs(heights[0] - heights[1]) >= 12
    assert "A &amp; B" in drawn


def test_grouped_bars_share_one_scale() -> None:
    drawn = charts.grouped_bars(
        {"code": {"prior": 0.2, "proposed": 0.8}, "docs": {"prior": 0.8, "proposed": 0.2}}
    )
    widths = [
        float(width)
        for width in re.findall(r'class="bar c\d" x="150" y="\d+" width="([\d.]+)" height="9"', drawn)
    ]
    assert widths[-4:] == [50.0, 200.0, 200.0, 50.0]
    assert drawn.count("prior") == drawn.count("proposed") == 1


def test_long_names_of_curves_have_room() -> None:
    """The figure ends behind the longest name, which stands where its curve ends."""
    page = charts.lines({"x" * 60: [(0, 1.0), (1, 2.0)], "y": [(0, 1.0), (1, 0.5)]})
    found = re.search(r'viewBox="0 0 (\d+) ', page)
    assert found is not None
    whole = int(found[1])
    starts = [float(x) for x in re.findall(r'<text x="([0-9.]+)" y="[0-9.]+">x+', page)]
    assert whole >= starts[0] + 6 * 62
