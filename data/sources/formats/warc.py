"""Web archives (.warc, .wet): each response, resource and conversion is a document; WARC/1.0 and 1.1.

A response with status 200 gives the text of its page of HTML, or its plain text; a conversion (Common Crawl's WET) its
text as it is. Other statuses and media types, and revisits, become decisions of the rule ``skipped``, so that the fate
of each address is recorded; requests, metadata, notes about the crawl and DNS answers are no documents and are left
out. The locator is the record's offset in the decompressed stream.

Read by hand because of damage: a record is valid when another one, or the end, follows where its length says. Otherwise
it is malformed, and reading goes on at the next ``WARC/1.``. (FastWARC, which comes with the extractor and finds
records fourteen times as fast, ends with an error at the first bad header and trusts a wrong length;
finding records is a small part of the time of extracting their pages.)

References:
    IIPC, The WARC Format 1.1 (sections 4 to 6: records, named fields, types). ISO 28500:2017.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from millrace.data.sources.bytes.http_message import Head, body_of, content_type, head_of, headers_of
from millrace.data.sources.bytes.streams import READ_BYTES, Damaged, rest_of
from millrace.data.sources.html.pages import html_item, plain_item
from millrace.data.sources.records import Item, Malformed, Options, Where

START = re.compile(rb"WARC/1\.[01][ \t]*\r?\n")
BLANK = re.compile(rb"\r?\n\r?\n")
NEEDED = re.compile(rb"^(?:WARC-Type|Content-Length)[ \t]*:", re.IGNORECASE | re.MULTILINE)
LENGTH = re.compile(r"[0-9]{1,15}")
LONGEST_START, MOST_LINE_ENDS = 64, 64
HEAD_BYTES = 1 << 16
NO_DOCUMENTS = ("warcinfo", "request", "metadata", "continuation")
NO_PAGES = ("dns:", "whois:", "metadata:", "filedesc:")
HTML_TYPES = ("text/html", "application/xhtml+xml")
HTML_STARTS = re.compile(
    rb"\s*(?:<!doctype html|<html|<\?xml[^>]{0,200}>\s*<(?:!doctype )?html)", re.IGNORECASE
)


class _Held:
    """The buffered bytes of a stream; ``at`` is where reading stands in them, ``offset`` the same in the stream."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.data, self.at, self.offset = b"", 0, 0
        self.is_whole = False
        self.damage: Damaged | None = None

    @property
    def left(self) -> int:
        """How many bytes are held from ``at`` on."""
        return len(self.data) - self.at

    def fill(self, size: int) -> bool:
        """Holds ``size`` bytes from ``at`` on, fewer only at the end; returns whether there are as many."""
        if self.left < size and not self.is_whole:
            pieces = [self.data[self.at :]]
            held = len(pieces[0])
            while held < size and not self.is_whole:
                try:
                    block = self._stream.read(max(READ_BYTES, size - held))
                except Damaged as error:
                    self.damage, block = error, b""
                self.is_whole = not block
                pieces.append(block)
                held += len(block)
            self.data, self.at = b"".join(pieces), 0
        return self.left >= size

    def skip(self, size: int) -> None:
        """Goes on by ``size`` bytes that are held."""
        self.at, self.offset = self.at + size, self.offset + size


def read(stream: Any, where: Where, options: Options) -> Iterator[Item]:
    """The records as documents."""
    held = _Held(stream)
    while True:
        _skip_line_ends(held)
        start = held.offset
        held.fill(HEAD_BYTES)
        if not held.left:
            break
        match, end = START.match(held.data, held.at), _end_of_head(held)
        head = held.data[match.end() : end] if match else b""
        fields = headers_of(head.split(b"\n"))
        length = fields.get("content-length", "")
        # A head of two records, or with zeros, has lost what was in between.
        is_one = b"\0" not in head and len(NEEDED.findall(head)) == 2
        if not is_one or "warc-type" not in fields or not LENGTH.fullmatch(length):
            if match and not end and held.damage is not None:
                break  # what breaks off in a head is told below
            problem = "got no header of a WARC record, expected WARC/1.0 or 1.1 and its fields"
            yield Malformed(where.uri, str(start), problem, _resume(held, 1), is_stretch=True)
            continue
        held.skip(end - held.at)
        yield from _record(held, fields, int(length), start, where, options)
    if held.damage is not None:
        yield rest_of(where, held.offset, held.damage)


def _skip_line_ends(held: _Held) -> None:
    while held.fill(1) and held.data[held.at] in b"\r\n":
        held.skip(1)


def _end_of_head(held: _Held) -> int:
    """Where a record's block starts in what is held, 0 when its head does not end within ``HEAD_BYTES``."""
    match = BLANK.search(held.data, held.at, held.at + HEAD_BYTES)
    return match.end() if match else 0


def _resume(held: _Held, first: int) -> int:
    """Goes on to what starts the next record, from ``first`` bytes on; returns the bytes passed over."""
    begin = held.offset
    while True:
        if match := START.search(held.data, held.at + first):
            held.skip(match.start() - held.at)
            break
        held.skip(max(0, held.left - LONGEST_START))
        first = 1 if held.offset > begin else first
        if not held.fill(held.left + 1):
            held.skip(held.left)
            break
    return held.offset - begin


def _record(
    held: _Held, fields: Mapping[str, str], length: int, start: int, where: Where, options: Options
) -> Iterator[Item]:
    """One record, whose block comes next."""
    seen = min(length, HEAD_BYTES)
    held.fill(seen)
    found = _judged(held.data[held.at : held.at + seen], fields)
    locator = str(start)
    if length > options.max_document_bytes + HEAD_BYTES:
        passed = _pass_over(held, length)
        if found is None and passed == length:
            return
        if isinstance(found, str) and passed == length:
            yield Malformed(where.uri, locator, found, length, rule="skipped")
            return
        most = options.max_document_bytes
        problem = f"got a record of {length} bytes, expected at most max_document_bytes = {most}"
        yield Malformed(where.uri, locator, problem, passed)
    elif not held.fill(length) and held.damage is not None:
        # A record announced earlier breaks off here; a record in between shows a wrong length.
        yield Malformed(
            where.uri, locator, f"{held.damage}, expected a whole record", _resume(held, 0), is_stretch=True
        )
    elif not _ends_at(held, length):
        problem = f"got a record whose length {length} does not lead to the next one, expected it to"
        yield Malformed(where.uri, locator, problem, _resume(held, 0), is_stretch=True)
    else:
        block = held.data[held.at : held.at + length]
        held.skip(length)
        if isinstance(found, str):
            yield Malformed(where.uri, locator, found, length, rule="skipped")
        elif found is not None:
            yield _document(block, found, fields, locator, where, options)


def _ends_at(held: _Held, length: int) -> bool:
    """Whether a record, or the end of the file, follows a block of this length and line ends."""
    if not held.fill(length):
        return False
    held.fill(length + MOST_LINE_ENDS + LONGEST_START)
    place = held.at + length
    while place < len(held.data) and held.data[place] in b"\r\n":
        place += 1
    return START.match(held.data, place) is not None or (place == len(held.data) and held.is_whole)


def _pass_over(held: _Held, length: int) -> int:
    """Passes over a block that is too large to hold, or up to a record inside of it; returns how many bytes."""
    begin = held.offset
    while (left := length - (held.offset - begin)) and held.fill(1):
        held.fill(min(READ_BYTES, left))
        if match := START.search(held.data, held.at, held.at + left):
            held.skip(match.start() - held.at)
            break
        size = min(held.left, left)
        is_last = size == left or held.is_whole
        held.skip(size if is_last or size <= LONGEST_START else size - LONGEST_START)
    return held.offset - begin


def _judged(start: bytes, fields: Mapping[str, str]) -> tuple[Head, str, str | None] | str | None:
    """The kind of a record, by its fields and the first bytes of its block.

    Returns:
        The head of its response (empty without one), ``html`` or ``plain``, and its charset; why it is skipped; None when
        it is no document.
    """
    kind = fields["warc-type"].lower()
    outer, charset = content_type(fields.get("content-type"))
    if kind in NO_DOCUMENTS or fields.get("warc-target-uri", "").strip("<").startswith(NO_PAGES):
        return None
    if kind == "revisit":
        return "got a revisit of a page that was captured before, expected a response"
    if kind not in ("response", "resource", "conversion"):
        return f"got a record of type {kind!r}, expected response, resource or conversion"
    head = Head(200, {}, 0)
    media = outer
    if kind == "response" and (outer in (None, "application/http") or start.startswith(b"HTTP/")):
        head = head_of(start)
        if head.status != 200:
            return f"got a response of status {head.status}, expected 200"
        media, charset = content_type(head.headers.get("content-type"))
    media = media or content_type(fields.get("warc-identified-payload-type"))[0]
    if media in HTML_TYPES or (media is None and HTML_STARTS.match(start, head.size_bytes)):
        return head, "html", charset
    if media == "text/plain":
        return head, "plain", charset
    return f"got {media or 'no media type'}, expected text/html, application/xhtml+xml or text/plain"


def _document(
    block: bytes,
    found: tuple[Head, str, str | None],
    fields: Mapping[str, str],
    locator: str,
    where: Where,
    options: Options,
) -> Item:
    head, kind, charset = found
    is_truncated = "warc-truncated" in fields
    try:
        body = body_of(block, head, options.max_document_bytes, options.max_ratio, is_truncated=is_truncated)
    except Damaged as error:
        return Malformed(where.uri, locator, f"{error}, expected a whole page", len(block))
    known = {
        "url": fields.get("warc-target-uri", "").strip("<>"),  # which some crawlers write around it
        "date": fields.get("warc-date"),
        "record_id": fields.get("warc-record-id", "").strip("<>"),
        "content_type": "text/html" if kind == "html" else "text/plain",
        "language": fields.get("warc-identified-content-language", "").partition(",")[0],
        "truncated": fields.get("warc-truncated"),
    }
    facts = {name: value for name, value in known.items() if value}
    item = html_item if kind == "html" else plain_item
    return item(body, where, options, locator=locator, charset=charset, facts=facts)
