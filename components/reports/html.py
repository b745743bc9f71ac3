"""HTML reports of stages: one small file without scripts or anything fetched, for browsers and Kubeflow's page alike.

Pieces are plain strings of markup that these functions return; every text that a caller hands over is escaped, because
reports quote documents and documents hold markup. Charts are inline SVG and take their colours from the page, light or
dark.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

QUOTE_CHARACTERS = 600
_WIDTH, _HEIGHT = 360, 96
_LETTER = 6.5  # what a letter of a figure takes, at most on average

_STYLE = """
:root{color-scheme:light dark;--ink:#1d2430;--soft:#5c6675;--line:#d9dee5;--page:#fff;--bar:#3d7ab8;--mark:#c2410c;--quote:#f4f6f8}
@media(prefers-color-scheme:dark){:root{--ink:#e4e8ee;--soft:#9aa5b4;--line:#343c48;--page:#14181e;--bar:#6ba4dd;--mark:#fb923c;--quote:#1d232c}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page);max-width:72rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin-bottom:.2rem}h2{font-size:1.15rem;margin-top:2.2rem;border-bottom:1px solid var(--line)}h3{font-size:1rem;margin-bottom:.3rem}
p.summary{color:var(--soft);margin-top:0}p.warning{border-left:3px solid var(--mark);padding:.2rem .8rem;margin:.6rem 0}.wide{overflow-x:auto}
table{border-collapse:collapse;margin:.6rem 0}th,td{padding:.2rem .8rem .2rem 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}
th{font-weight:600;color:var(--soft)}td.number,th.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
td{overflow-wrap:anywhere}
blockquote{white-space:pre-wrap;overflow-wrap:anywhere;background:var(--quote);margin:.4rem 0;padding:.5rem .8rem;border-left:3px solid var(--line);font:13px/1.45 ui-monospace,monospace}
figure{display:inline-block;margin:.4rem 1.4rem .4rem 0;vertical-align:top}figcaption{font-size:13px;color:var(--soft)}
svg text{font:11px system-ui,sans-serif;fill:var(--soft)}svg .bar{fill:var(--bar)}svg .over{fill:var(--mark);opacity:.55}svg .line{fill:none;stroke-width:1.6;stroke:var(--bar)}
svg .dot{fill:var(--bar);opacity:.75}svg .dot.c1,svg .bar.c1{fill:var(--mark);opacity:1}svg .even{stroke:var(--line)}
svg .c1{stroke:var(--mark)}svg .c2{stroke:#4d9a5b}svg .c3{stroke:#9a62b5}svg .mark{stroke:var(--mark);stroke-width:1.5}
mark{background:var(--mark);color:var(--page)}summary{cursor:pointer;color:var(--soft)}
"""


def page(title: str, summary: str, *parts: str) -> str:
    """A whole file.

    Args:
        title: The report's name.
        summary: One sentence with the figures that matter.
        parts: Markup of the pieces, in order.
    """
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>\n"
        f'<h1>{escape(title)}</h1><p class="summary">{escape(summary)}</p>\n{"".join(parts)}</body></html>\n'
    )


def section(title: str, *parts: str) -> str:
    """Pieces under a heading."""
    return f"<h2>{escape(title)}</h2>\n{''.join(parts)}"


def subsection(title: str, *parts: str) -> str:
    """Pieces under a smaller heading."""
    return f"<h3>{escape(title)}</h3>\n{''.join(parts)}"


def folded(title: str, *parts: str) -> str:
    """Pieces that show when their title is clicked."""
    return f"<details><summary>{escape(title)}</summary>{''.join(parts)}</details>\n"


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escape(text)}</p>\n"


def warning(text: str) -> str:
    """A paragraph that nobody should overlook."""
    return f'<p class="warning">{escape(text)}</p>\n'


def number(value: float | None) -> str:
    """A figure as people read it: 1,234,567, 0.0312, 12.5; nothing for None and NaN."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.4g}"


def table(headers: Sequence[str], rows: Iterable[Sequence[str | float | None]]) -> str:
    """A table; numbers are aligned to the right and grouped.

    Args:
        headers: Names of the columns.
        rows: Texts, numbers or None for an empty cell, as many as headers.
    """
    body = [list(row) for row in rows]
    is_number = [
        any(isinstance(row[at], int | float) for row in body)
        and not any(isinstance(row[at], str) for row in body)
        for at in range(len(headers))
    ]
    marks = [' class="number"' if numeric else "" for numeric in is_number]
    head = "".join(f"<th{mark}>{escape(name)}</th>" for name, mark in zip(headers, marks, strict=True))
    lines = [
        "<tr>"
        + "".join(f"<td{mark}>{_cell(value)}</td>" for value, mark in zip(row, marks, strict=True))
        + "</tr>\n"
        for row in body
    ]
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{"".join(lines)}</tbody></table></div>\n'


def _cell(value: str | float | None) -> str:
    return escape(value) if isinstance(value, str) else number(value)


def quote(text: str, span: tuple[int, int] | None = None, limit: int = QUOTE_CHARACTERS) -> str:
    """A stretch of a document.

    Args:
        text: The document's text, or part of it.
        span: First and last (exclusive) character of what to mark; what is quoted is then taken around it.
        limit: Most characters to quote.
    """
    if span is None:
        return f"<blockquote>{escape(text[:limit])}{'…' if len(text) > limit else ''}</blockquote>\n"
    begin, end = span
    margin = max((limit - (end - begin)) // 2, 0)
    first, last = max(begin - margin, 0), min(max(end, begin) + margin, len(text))
    end = min(end, begin + limit)
    return (
        f"<blockquote>{'…' if first else ''}{escape(text[first:begin])}<mark>{escape(text[begin:end])}</mark>"
        f"{escape(text[end:last])}{'…' if last < len(text) else ''}</blockquote>\n"
    )


def bars(values: Mapping[str, float], caption: str = "") -> str:
    """Horizontal bars, one per name, with the figure behind each."""
    most = max(values.values(), default=0) or 1
    rows = []
    for place, (name, value) in enumerate(values.items()):
        y, length = 16 * place, 200 * max(value, 0) / most
        rows.append(
            f'<text x="146" y="{y + 12}" text-anchor="end">{escape(name[:24])}</text>'
            f'<rect class="bar" x="150" y="{y + 3}" width="{length:.1f}" height="11"/>'
            f'<text x="{154 + length:.1f}" y="{y + 12}">{number(value)}</text>'
        )
    return _figure(f'viewBox="0 0 440 {16 * len(rows)}" width="440"', "".join(rows), caption)


def grouped_bars(groups: Mapping[str, Mapping[str, float]], caption: str = "") -> str:
    """Horizontal bars in pairs: under each name one for each of two series, on one scale.

    Args:
        groups: Name -> series -> value, the same two series in each.
        caption: What is drawn.
    """
    most = max((value for group in groups.values() for value in group.values()), default=0) or 1
    pieces = []
    for line, series in enumerate(next(iter(groups.values()), {})):
        pieces.append(
            f'<rect class="bar c{line}" x="{150 + 90 * line}" y="3" width="9" height="9"/>'
            f'<text x="{163 + 90 * line}" y="12">{escape(series)}</text>'
        )
    for place, (name, group) in enumerate(groups.items()):
        top = 20 + 30 * place
        pieces.append(f'<text x="146" y="{top + 17}" text-anchor="end">{escape(name[:24])}</text>')
        for line, value in enumerate(group.values()):
            y, length = top + 3 + 11 * line, 200 * max(value, 0) / most
            pieces.append(
                f'<rect class="bar c{line}" x="150" y="{y}" width="{length:.1f}" height="9"/>'
                f'<text x="{154 + length:.1f}" y="{y + 8}">{number(value)}</text>'
            )
    height = 20 + 30 * len(groups)
    return _figure(f'viewBox="0 0 440 {height}" width="440"', "".join(pieces), caption)


def scatter(
    points: Sequence[tuple[float, float]],
    marked: Mapping[str, tuple[float, float, float]],
    caption: str = "",
    axes: tuple[str, str] = ("", ""),
) -> str:
    """Points around the line on which both values are equal.

    Args:
        points: (x, y) each.
        marked: Name -> (x, y, error of x) of points that are named and drawn in another colour.
        caption: What is drawn.
        axes: What x and y are.
    """
    xs = [x for x, _ in points] + [x + sign * e for x, _, e in marked.values() for sign in (-1, 1)]
    ys = [y for _, y in points] + [y for _, y, _ in marked.values()]
    low, high = min(xs + ys), max(xs + ys)
    size, left = 300, 56
    scale = size / ((high - low) or 1)

    def at(x: float, y: float) -> tuple[float, float]:
        return left + (x - low) * scale, 8 + size - (y - low) * scale

    pieces = [
        f'<line class="even" x1="{left}" y1="{8 + size}" x2="{left + size}" y2="8"/>',
        f'<line class="even" x1="{left}" y1="{8 + size}" x2="{left + size}" y2="{8 + size}"/>',
        f'<line class="even" x1="{left}" y1="{8 + size}" x2="{left}" y2="8"/>',
    ]
    for x, y in points:
        across, down = at(x, y)
        pieces.append(f'<circle class="dot" cx="{across:.1f}" cy="{down:.1f}" r="3.5"/>')
    # From the lowest up, names stand clear of each other.
    below = math.inf
    for name, (x, y, error) in sorted(marked.items(), key=lambda item: item[1][1]):
        across, down = at(x, y)
        below = min(down - 6, below - 12)
        pieces.append(
            f'<line class="mark" x1="{across - error * scale:.1f}" x2="{across + error * scale:.1f}" '
            f'y1="{down:.1f}" y2="{down:.1f}"/>'
            f'<circle class="dot c1" cx="{across:.1f}" cy="{down:.1f}" r="4.5"/>'
            f'<text x="{across + 8:.1f}" y="{below:.1f}">{escape(name)}</text>'
        )
    for value, place in ((low, 8 + size), (high, 16)):
        pieces.append(f'<text x="{left - 6}" y="{place}" text-anchor="end">{number(value)}</text>')
    for value, place, anchor in ((low, left, "start"), (high, left + size, "end")):
        pieces.append(f'<text x="{place}" y="{size + 24}" text-anchor="{anchor}">{number(value)}</text>')
    pieces.append(
        f'<text x="{left + size / 2}" y="{size + 24}" text-anchor="middle">{escape(axes[0])}</text>'
    )
    pieces.append(
        f'<text transform="translate({left - 10},{8 + size / 2}) rotate(-90)" text-anchor="middle">{escape(axes[1])}</text>'
    )
    frame = f'viewBox="0 0 {left + size + 90} {size + 30}" width="{left + size + 90}"'
    return _figure(frame, "".join(pieces), caption)


def histogram(
    counts: Sequence[int],
    edges: Sequence[float],
    caption: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
) -> str:
    """How often values fall in each bin; what lies beyond a threshold is drawn in another colour.

    Args:
        counts: Values in each bin; heights are logarithmic, because a tail of a hundredth is what one looks for.
        edges: Borders of the bins, one more than counts, ascending.
        caption: What is counted.
        minimum: Values below it are dropped; None when there is no such bound.
        maximum: Values above it are dropped.
    """
    tops = [math.log1p(count) for count in counts]
    most = max(tops, default=0) or 1.0
    step = _WIDTH / max(len(counts), 1)
    pieces = []
    for at, top in enumerate(tops):
        # A bound at the end of the scale is met by what lies on it, which is in the outermost bin.
        is_over = (minimum is not None and edges[at + 1] <= minimum and edges[at + 1] < edges[-1]) or (
            maximum is not None and edges[at] >= maximum and edges[at] > edges[0]
        )
        height = (_HEIGHT - 20) * top / most
        pieces.append(
            f'<rect class="{"over" if is_over else "bar"}" x="{at * step:.1f}" y="{_HEIGHT - 14 - height:.1f}" '
            f'width="{max(step - 1, 0.5):.1f}" height="{height:.1f}"><title>{number(edges[at])} to '
            f"{number(edges[at + 1])}: {number(counts[at])}</title></rect>"
        )
    for threshold in (minimum, maximum):
        if threshold is not None and edges[0] <= threshold <= edges[-1]:
            x = step * _place(threshold, edges)
            pieces.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{_HEIGHT - 14}"/>')
    pieces.append(
        f'<text x="0" y="{_HEIGHT - 2}">{number(edges[0])}</text>'
        f'<text x="{_WIDTH}" y="{_HEIGHT - 2}" text-anchor="end">{number(edges[-1])}</text>'
    )
    return _figure(f'viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}"', "".join(pieces), caption)


def lines(
    series: Mapping[str, Sequence[tuple[float, float]]], caption: str = "", borders: Sequence[float] = ()
) -> str:
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

    pieces = []
    for border in borders:
        x = at(border, low)[0]
        pieces.append(
            f'<line class="mark" stroke-dasharray="3" x1="{x:.1f}" x2="{x:.1f}" y1="4" y2="{height - 18}"/>'
        )
    drawn = [item for item in finite.items() if item[1]]
    ends = []
    for colour, (name, named) in enumerate(drawn):
        path = " ".join("{:.1f},{:.1f}".format(*at(*point)) for point in named)
        pieces.append(
            f'<polyline class="line c{colour % 4}" points="{path}"><title>{escape(name)}</title></polyline>'
        )
        x, y = at(*named[-1])
        ends.append((y, x, f"{name} {number(named[-1][1])}"))
    # From the lowest up, names keep the order of the curves and stand clear of each other.
    below = math.inf
    for y, x, label in sorted(ends, reverse=True):
        below = min(y + 4, below - 12)
        pieces.append(f'<text x="{x + 4:.1f}" y="{below:.1f}">{escape(label)}</text>')
    for value in (low, high):
        pieces.append(
            f'<text x="44" y="{at(left, value)[1] + 4:.1f}" text-anchor="end">{number(value)}</text>'
        )
    for value, anchor in ((left, "start"), (right, "end")):
        pieces.append(
            f'<text x="{at(value, low)[0]:.1f}" y="{height - 2}" text-anchor="{anchor}">{number(value)}</text>'
        )
    longest = max(len(label) for _, _, label in ends)
    whole = max(width, width - 96 + round(_LETTER * longest))
    return _figure(f'viewBox="0 0 {whole} {height}" width="{whole}"', "".join(pieces), caption)


def _place(value: float, edges: Sequence[float]) -> float:
    """Where a value lies, counted in bins from the left."""
    for at in range(len(edges) - 1):
        if value <= edges[at + 1]:
            return at + (value - edges[at]) / ((edges[at + 1] - edges[at]) or 1)
    return float(len(edges) - 1)


def _figure(frame: str, content: str, caption: str) -> str:
    under = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f'<figure><svg {frame} role="img">{content}</svg>{under}</figure>\n'
