"""JSON (.json): an array of objects, one object, or objects one after the other, each a document.

Values are read one by one, so an array of any length costs the memory of one document. After damage, reading goes on
at the next object that follows a comma or a line end.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any

from ..encodings import as_utf8
from ..records import Item, Malformed, Options, Where
from ..rows import kind_of, record_of
from ..streams import READ_BYTES, Damaged

SPACE = re.compile(r"[ \t\r\n]*")
BETWEEN = re.compile(r"[ \t\r\n,]*")
NEXT = re.compile(r"[,\n\[][ \t\r\n]*(?=\{)")


class _Text:
    """Decoded text of a stream from a place on, with the byte offset of that place."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        # Bytes that are no UTF-8 become lone surrogates, which make their own record malformed and no other.
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self.text, self.offset = "", 0
        self.is_whole = False
        self.damage: Damaged | None = None

    def more(self) -> None:
        """Reads as much again as there is."""
        wanted = max(READ_BYTES, len(self.text))
        try:
            block = self._stream.read(wanted)
        except Damaged as error:
            self.damage, block = error, b""
        self.is_whole = not block
        self.text += self._decoder.decode(block, self.is_whole)

    def skip(self, count: int) -> int:
        """Drops characters from the start; returns their bytes."""
        size = len(self.text[:count].encode("utf-8", "surrogateescape"))
        self.text, self.offset = self.text[count:], self.offset + size
        return size


def read(stream: Any, where: Where, options: Options) -> Iterator[Item]:
    """The values as documents."""
    held = _Text(as_utf8(stream, options))
    held.more()
    held.skip(held.text.startswith("\ufeff"))
    start = SPACE.match(held.text)
    at = start.end() if start else 0
    is_array = held.text[at : at + 1] == "["
    at += is_array
    decoder = json.JSONDecoder()
    while True:
        match = (BETWEEN if is_array else SPACE).match(held.text, at)
        at = match.end() if match else at
        if at >= len(held.text) or (len(held.text) - at < READ_BYTES // 4 and not held.is_whole):
            held.skip(at)
            at = 0
            if held.is_whole and not held.text:
                break
            if not held.is_whole:
                held.more()
                continue
        if is_array and held.text[at] == "]":
            is_array = False  # whatever follows is looked at as well
            at += 1
            continue
        problem, place = "", at + 1
        try:
            value, end = decoder.raw_decode(held.text, at)
        except json.JSONDecodeError as error:
            problem, place = str(error.msg), max(error.pos, at + 1)
        except RecursionError:
            problem = "nesting too deep"
        if (problem or end == len(held.text)) and not held.is_whole:
            if len(held.text) - at <= 2 * options.max_document_bytes:
                held.skip(at)
                at = 0
                held.more()
                continue
            problem = problem or "too long"
        held.skip(at)
        locator = str(held.offset)
        if problem:
            follows = NEXT.search(held.text, max(place - at - 1, 1))
            size = held.skip(follows.end() if follows else len(held.text))
            words = f"got no JSON ({problem}), expected an object"
            yield Malformed(where.uri, locator, words, size)
        else:
            size = held.skip(end - at)
            if size > options.max_document_bytes:
                words = (
                    f"got {size} bytes, expected at most max_document_bytes = {options.max_document_bytes}"
                )
                yield Malformed(where.uri, locator, words, size)
            elif not isinstance(value, dict):
                words = f"got a JSON {kind_of(value)}, expected an object"
                yield Malformed(where.uri, locator, words, size)
            else:
                yield record_of(value, where, options, locator, "", size)
        at = 0
    if held.damage is not None:
        yield Malformed(
            where.uri, str(held.offset), f"{held.damage}, expected a whole file", where.size_bytes
        )
    elif is_array:
        yield Malformed(where.uri, str(held.offset), "got an array without an end, expected a whole file")
