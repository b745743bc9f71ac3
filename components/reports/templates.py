"""The markup of reports as Jinja2 templates: every value is escaped, unless a template made it.

They are in Python and not in a file beside it, because a stage's identity follows imports: a changed template makes the
reports anew.

References:
    Jinja2 documentation, "HTML Escaping".
"""

from __future__ import annotations

from functools import cache
from html import escape
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from .figures import number

PIECES = """
{% macro page(title, summary, parts) %}
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
{#- #}<title>{{ title }}</title><style>
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
</style></head><body>
<h1>{{ title }}</h1><p class="summary">{{ summary }}</p>
{% for part in parts %}{{ part }}{% endfor %}</body></html>
{% endmacro %}

{% macro section(title, parts) %}
<h2>{{ title }}</h2>
{% for part in parts %}{{ part }}{% endfor %}
{% endmacro %}

{% macro subsection(title, parts) %}
<h3>{{ title }}</h3>
{% for part in parts %}{{ part }}{% endfor %}
{% endmacro %}

{% macro folded(title, parts) %}
<details><summary>{{ title }}</summary>{% for part in parts %}{{ part }}{% endfor %}</details>
{% endmacro %}

{% macro paragraph(text) %}
<p>{{ text }}</p>
{% endmacro %}

{% macro warning(text) %}
<p class="warning">{{ text }}</p>
{% endmacro %}

{% macro table(headers, rows, is_number) %}
<div class="wide"><table><thead><tr>
{%- for name in headers %}<th{% if is_number[loop.index0] %} class="number"{% endif %}>{{ name }}</th>{% endfor %}
</tr></thead><tbody>
{% for row in rows %}
<tr>{% for cell in row %}<td{% if is_number[loop.index0] %} class="number"{% endif %}>{{ cell }}</td>{% endfor %}
</tr>
{% endfor %}
</tbody></table></div>
{% endmacro %}

{% macro quote(before, text, after) %}
<blockquote>{{ before }}{% if text is not none %}<mark>{{ text }}</mark>{% endif %}{{ after }}</blockquote>
{% endmacro %}

{% macro figure(width, height, drawn, caption) %}
<figure><svg viewBox="0 0 {{ width }} {{ height }}" width="{{ width }}" role="img">{{ drawn }}</svg>
{%- if caption %}<figcaption>{{ caption }}</figcaption>{% endif %}</figure>
{% endmacro %}

{% macro bars(rows) %}
{% for name, y, length, value in rows -%}
<text x="146" y="{{ y + 12 }}" text-anchor="end">{{ name }}</text>
{#- #}<rect class="bar" x="150" y="{{ y + 3 }}" width="{{ length | px }}" height="11"/>
{#- #}<text x="{{ (154 + length) | px }}" y="{{ y + 12 }}">{{ value | number }}</text>
{%- endfor %}
{% endmacro %}

{% macro grouped_bars(legend, rows) %}
{% for series in legend -%}
<rect class="bar c{{ loop.index0 }}" x="{{ 150 + 90 * loop.index0 }}" y="3" width="9" height="9"/>
{#- #}<text x="{{ 163 + 90 * loop.index0 }}" y="12">{{ series }}</text>
{%- endfor %}
{% for name, y, group in rows -%}
<text x="146" y="{{ y }}" text-anchor="end">{{ name }}</text>
{%- for y, length, value in group -%}
<rect class="bar c{{ loop.index0 }}" x="150" y="{{ y }}" width="{{ length | px }}" height="9"/>
{#- #}<text x="{{ (154 + length) | px }}" y="{{ y + 8 }}">{{ value | number }}</text>
{%- endfor %}
{%- endfor %}
{% endmacro %}

{% macro scatter(frame, points, marked, ticks, axes, below_axis, beside_axis) %}
{% for x1, y1, x2, y2 in frame %}<line class="even" x1="{{ x1 }}" y1="{{ y1 }}" x2="{{ x2 }}" y2="{{ y2 }}"/>{% endfor %}
{% for x, y in points %}<circle class="dot" cx="{{ x | px }}" cy="{{ y | px }}" r="3.5"/>{% endfor %}
{% for name, x, y, error, below in marked -%}
<line class="mark" x1="{{ (x - error) | px }}" x2="{{ (x + error) | px }}" y1="{{ y | px }}" y2="{{ y | px }}"/>
{#- #}<circle class="dot c1" cx="{{ x | px }}" cy="{{ y | px }}" r="4.5"/>
{#- #}<text x="{{ (x + 8) | px }}" y="{{ below | px }}">{{ name }}</text>
{%- endfor %}
{% for value, x, y, anchor in ticks %}<text x="{{ x }}" y="{{ y }}" text-anchor="{{ anchor }}">{{ value | number }}</text>{% endfor %}
<text x="{{ below_axis[0] }}" y="{{ below_axis[1] }}" text-anchor="middle">{{ axes[0] }}</text>
{#- #}<text transform="translate({{ beside_axis[0] }},{{ beside_axis[1] }}) rotate(-90)" text-anchor="middle">{{ axes[1] }}</text>
{%- endmacro %}

{% macro histogram(bars, thresholds, first, last, width, height) %}
{% for is_over, x, y, bar_width, bar_height, low, high, count in bars -%}
<rect class="{{ "over" if is_over else "bar" }}" x="{{ x | px }}" y="{{ y | px }}" width="{{ bar_width | px }}"
{#- #} height="{{ bar_height | px }}"><title>{{ low | number }} to {{ high | number }}: {{ count | number }}</title></rect>
{%- endfor %}
{% for x in thresholds %}<line class="mark" x1="{{ x | px }}" x2="{{ x | px }}" y1="0" y2="{{ height - 14 }}"/>{% endfor -%}
<text x="0" y="{{ height - 2 }}">{{ first | number }}</text>
{#- #}<text x="{{ width }}" y="{{ height - 2 }}" text-anchor="end">{{ last | number }}</text>
{%- endmacro %}

{% macro lines(height, borders, curves, labels, sides, ends) %}
{% for x in borders -%}
<line class="mark" stroke-dasharray="3" x1="{{ x | px }}" x2="{{ x | px }}" y1="4" y2="{{ height - 18 }}"/>
{%- endfor %}
{% for name, points in curves -%}
<polyline class="line c{{ loop.index0 % 4 }}" points="
{%- for x, y in points %}{{ x | px }},{{ y | px }}{% if not loop.last %} {% endif %}{% endfor %}"><title>{{ name }}</title></polyline>
{%- endfor %}
{% for text, x, y in labels %}<text x="{{ x | px }}" y="{{ y | px }}">{{ text }}</text>{% endfor %}
{% for value, y in sides %}<text x="44" y="{{ y | px }}" text-anchor="end">{{ value | number }}</text>{% endfor %}
{% for value, x, anchor in ends -%}
<text x="{{ x | px }}" y="{{ height - 2 }}" text-anchor="{{ anchor }}">{{ value | number }}</text>
{%- endfor %}
{% endmacro %}
"""


def piece(name: str, *values: Any) -> Markup:
    """Renders the macro of this name with some values."""
    made: Markup = getattr(_macros(), name)(*values)
    return made


@cache
def _macros() -> Any:
    environment = Environment(
        autoescape=True,
        finalize=_escaped,
        keep_trailing_newline=True,
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {"number": number, "px": "{:.1f}".format}
    return environment.from_string(PIECES).module


def _escaped(value: Any) -> Markup:
    """A value as markup; quotes are named (``&quot;``), where Jinja2's own escaping numbers them."""
    return value if isinstance(value, Markup) else Markup(escape(str(value)))
