"""Documents of the web as records: a page of HTML or a plain text, with what is known about it as metadata."""

from __future__ import annotations

from collections.abc import Mapping

from millrace.data.sources.bytes.encodings import Decoded, UnknownEncodingError, decode
from millrace.data.sources.records import Malformed, Options, Record, Where

from .extract import codec_of
from .worker import PageError, page_of

Facts = Mapping[str, object]


def html_item(
    content: bytes,
    where: Where,
    options: Options,
    *,
    locator: str = "",
    charset: str | None = None,
    facts: Facts | None = None,
) -> Record | Malformed:
    """A page's text with its title, language and address, or what is wrong with it.

    Args:
        content: The page's bytes.
        where: Its file.
        options: The parts to extract; an encoding that they name goes before the page's own.
        locator: Where in the file it stands.
        charset: Encoding named by its server.
        facts: Further metadata, which take precedence over the page's own.
    """
    named = charset if options.encoding == "auto" else options.encoding
    try:
        page = page_of(content, named, whole=options.html == "all")
    except PageError as error:
        return Malformed(where.uri, _at(locator, error.offset), str(error), len(content))
    own = {"title": page.title, "language": page.language, "url": page.url, "encoding": page.encoding}
    metadata = {name: value for name, value in own.items() if value is not None} | dict(facts or {})
    return _item(page.text, where, options, locator, metadata, len(content))


def plain_item(
    content: bytes, where: Where, options: Options, *, locator: str, charset: str | None, facts: Facts
) -> Record | Malformed:
    """A plain text, or its fault; the arguments are those of ``html_item``."""
    try:
        text, encoding = _decoded(content, charset, options.encoding)
    except UnknownEncodingError as error:
        return Malformed(where.uri, _at(locator, error.offset), str(error), len(content))
    if "\0" in text:
        return Malformed(where.uri, locator, "got a null character, expected text", len(content))
    own = {} if encoding is None else {"encoding": encoding}
    return _item(text, where, options, locator, own | dict(facts), len(content))


def _decoded(content: bytes, charset: str | None, encoding: str) -> Decoded:
    name = codec_of(charset)
    if name in (None, "utf-8") or encoding != "auto":
        return decode(content, encoding)
    try:
        return decode(content, str(name))
    except UnknownEncodingError:
        return decode(content, encoding)


def _item(
    text: str, where: Where, options: Options, locator: str, metadata: Facts, size_bytes: int
) -> Record | Malformed:
    if not text.strip():
        return Malformed(where.uri, locator or "0", "got no text", size_bytes, rule="empty")
    known = dict(metadata)
    if options.default_license is not None:
        known["license"] = options.default_license
    lang = known.get(options.columns.language) if options.columns.language else None
    return Record(where.uri, locator, locator, text, str(lang or options.default_language), known)


def _at(locator: str, offset: int) -> str:
    return locator or str(offset)
