"""HTML (.html, .htm, .xhtml): a file is a document, its main content or all its visible text (``html: all``)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from millrace.data.sources.formats.text import contents
from millrace.data.sources.records import Malformed, Options, Record, Where

from .pages import html_item


def read(stream: Any, where: Where, options: Options) -> Iterator[Record | Malformed]:
    """The page's text as one document; of a damaged file, the text before the damage."""
    content, damage = contents(stream, where, options)
    if damage is not None:
        yield damage
    if content is None:
        return
    item = html_item(content, where, options)
    if isinstance(item, Record) or damage is None:
        yield item
