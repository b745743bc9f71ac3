"""Charts of reports as inline SVG, which takes its colours from the page, light or dark.

Places are worked out here, in the figure's units; ``templates`` holds the elements.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from .figures import number
from .html import Piece, paragraph
from .templates import piece

NAME_CHARACTERS = 24
_WIDTH, _HEIGHT = 360, 96
_LETTER = 6.5  # width of a letter, at most on average


def bars(values: Mapping[str, float], caption: str = "") -> Piece:
    """Horizontal bars, one per name, with the figure behind each."""
    most = max(values.values(), default=0) or 1
    rows = [
        (name[:NAME_CHARACTERS], 16 * place, 200 * max(value, 0) / most, value)
        for place, (name, value) in enumerate(values.items())
    ]
    return piece("figure", 440, 16 * len(rows), piece("bars", rows), caption)


def grouped_bars(groups: Mapping[str, Mapping[str, float]], caption: str = "") -> Piece:
    """Horizontal bars in pairs: under each name one for each of two series, on one scale.

    Args:
        groups: Name -> series -> value, the same two series in each.
        caption: What is drawn.
    """
    most = max((value for group in groups.values() for value in group.values()), default=0) or 1
    rows = []
    for place, (name, group) in enumerate(groups.items()):
        top = 20 + 30 * place
        drawn = [
            (top + 3 + 11 * line, 200 * max(value, 0) / most, value)
            for line, value in enumerate(group.values())
        ]
        rows.append((name[:NAME_CHARACTERS], top + 17, drawn))
    legend = list(next(iter(groups.values()), {}))
    return piece("figure", 440, 20 + 30 * len(groups), piece("grouped_bars", legend, rows), caption)


def scatter(
    points: Sequence[tuple[float, float]],
    marked: Mapping[str, tuple[float, float, float]],
    caption: str = "",
    axes: tuple[str, str] = ("", ""),
) -> Piece:
    """Points around the line on which both values are equal.

    Args:
        points: (x, y) each.
        marked: Name -> (x, y, error of x) of points that are named and drawn in another colour.
        caption: What is drawn.
        axes: Names of x and y.
    """
    xs = [x for x, _ in points] + [x + sign * e for x, _, e in marked.values() for sign in (-1, 1)]
    ys = [y for _, y in points] + [y for _, y, _ in marked.values()]
    low, high = min(xs + ys), max(xs + ys)
    size, left = 300, 56
    scale = size / ((high - low) or 1)

    def at(x: float, y: float) -> tuple[float, float]:
        return left + (x - low) * scale, 8 + size - (y - low) * scale

    # From the lowest up, names stand clear of each other.
    below, named = math.inf, []
    for name, (x, y, error) in sorted(marked.items(), key=lambda item: item[1][1]):
        across, down = at(x, y)
        below = min(down - 6, below - 12)
        named.append((name, across, down, error * scale, below))
    bottom, right = 8 + size, left + size
    drawn = piece(
        "scatter",
        [(left, bottom, right, 8), (left, bottom, right, bottom), (left, bottom, left, 8)],
        [at(*point) for point in points],
        named,
        [
            (low, left - 6, bottom, "end"),
            (high, left - 6, 16, "end"),
            (low, left, size + 24, "start"),
            (high, right, size + 24, "end"),
        ],
        axes,
        (left + size / 2, size + 24),
        (left - 10, 8 + size / 2),
    )
    return piece("figure", right + 90, size + 30, drawn, caption)


def histogram(
    counts: Sequence[int],
    edges: Sequence[float],
    caption: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
) -> Piece:
    """How often values fall in each bin; what lies beyond a threshold is drawn in another colour.

    Args:
        counts: Values in each bin; heights are logarithmic, to show a tail of a hundredth.
        edges: Borders of the bins, one more than counts, ascending.
        caption: Name of the counted value.
        minimum: Values below it are dropped; None when there is no such bound.
        maximum: Values above it are dropped.
    """
    tops = [math.log1p(count) for count in counts]
    most = max(tops, default=0) or 1.0
    step = _WIDTH / max(len(counts), 1)
    drawn = []
    for at, top in enumerate(tops):
        # A bound at the end of the scale is met by what lies on it, which is in the outermost bin.
        is_over = (minimum is not None and edges[at + 1] <= minimum and edges[at + 1] < edges[-1]) or (
            maximum is not None and edges[at] >= maximum and edges[at] > edges[0]
        )
        height = (_HEIGHT - 20) * top / most
        place = (at * step, _HEIGHT - 14 - height, max(step - 1, 0.5), height)
        drawn.append((is_over, *place, edges[at], edges[at + 1], counts[at]))
    thresholds = [
        step * _place(threshold, edges)
        for threshold in (minimum, maximum)
        if threshold is not None and edges[0] <= threshold <= edges[-1]
    ]
    chart = piece("histogram", drawn, thresholds, edges[0], edges[-1], _WIDTH, _HEIGHT)
    return piece("figure", _WIDTH, _HEIGHT, chart, caption)


def lines(
    series: Mapping[str, Sequence[tuple[float, float]]], caption: str = "", borders: Sequence[float] = ()
) -> Piece:
    """Curves over a common axis, their names where they end.

    Args:
        series: Name -> points (x, y), x ascending; those that are not finite are left out.
        caption: What is drawn.
        borders: Values of x to mark, such as where a phase begins.
    """
    finite = {
        name: [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
        for name, points in series.items()
    }
    points = [point for named in finite.values() for point in named]
    if not points:
        return paragraph(f"{caption}: nothing was measured.")
    (left, right), (low, high) = ((min(axis), max(axis)) for axis in zip(*points, strict=True))
    width, height = 2 * _WIDTH, 2 * _HEIGHT
    across, up = (width - 150) / ((right - left) or 1), (height - 30) / ((high - low) or 1)

    def at(x: float, y: float) -> tuple[float, float]:
        return 50 + (x - left) * across, height - 20 - (y - low) * up

    curves = {name: [at(*point) for point in named] for name, named in finite.items() if named}
    ends = [(*places[-1][::-1], f"{name} {number(finite[name][-1][1])}") for name, places in curves.items()]
    # From the lowest up, names keep the order of the curves and stand clear of each other.
    below, labels = math.inf, []
    for y, x, label in sorted(ends, reverse=True):
        below = min(y + 4, below - 12)
        labels.append((label, x + 4, below))
    chart = piece(
        "lines",
        height,
        [at(border, low)[0] for border in borders],
        list(curves.items()),
        labels,
        [(value, at(left, value)[1] + 4) for value in (low, high)],
        [(value, at(value, low)[0], anchor) for value, anchor in ((left, "start"), (right, "end"))],
    )
    longest = max(len(label) for _, _, label in ends)
    whole = max(width, width - 96 + round(_LETTER * longest))
    return piece("figure", whole, height, chart, caption)


def _place(value: float, edges: Sequence[float]) -> float:
    """Where a value lies, counted in bins from the left."""
    for at in range(len(edges) - 1):
        if value <= edges[at + 1]:
            return at + (value - edges[at]) / ((edges[at + 1] - edges[at]) or 1)
    return float(len(edges) - 1)
