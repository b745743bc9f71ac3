"""A page of the tests."""

from __future__ import annotations

PARAGRAPH = "The river rose in the night, and by morning the lower fields stood under water. " * 4


PAGE = f"""<!doctype html><html lang="en-GB"><head><meta charset="utf-8"><title> Floods
of the valley </title><link rel="canonical" href="https://example.org/floods"><style>p {{ color: red }}</style></head>
<body><nav><ul><li><a href="/">Home</a></li><li><a href="/news">All news</a></li></ul></nav>
<main><article><h1>Floods of the valley</h1><p>{PARAGRAPH}</p><script>track("visit")</script><pre>a  b
 c</pre></article></main><footer>Imprint and privacy</footer></body></html>"""
