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

from millrace.data.sources.bytes.encodings import as_utf8
from millrace.data.sources.bytes.streams import READ_BYTES, Damaged, rest_of
from millrace.data.sources.records import Item, Malformed, Options, Where
from millrace.data.sources.tables.rows import kind_of, record_of

SPACE = re.compile(r"[ \t\r\n]*")
BETWEEN = re.compile(r"[ \t\r\n,]*")
NEXT = re.compile(r"[,\n\[][ \t\r\n]*(?=\{)")


class _Text:
    """Decoded text of a stream; ``at`` is where reading stands in it, ``offset`` the same in bytes of the file."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        # Bytes that are no UTF-8 become lone surrogates, which make their own record malformed and no other.
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self.text, self.at, self.offset = "", 0, 0
        self.is_whole = False
        self.damage: Damaged | None = None

    def more(self) -> None:
        """Reads as much again as is left, and forgets what comes before ``at``."""
        self.text, self.at = self.text[self.at :], 0
        try:
            block = self._stream.read(max(READ_BYTES, len(self.text)))
        except Damaged as error:
            self.damage, block = error, b""
        self.is_whole = not block
        self.text += self._decoder.decode(block, self.is_whole)

    def skip(self, place: int) -> int:
        """Moves to a place in the text; returns the bytes in between."""
        size = len(self.text[self.at : place].encode("utf-8", "surrogateescape"))
        self.at, self.offset = place, self.offset + size
        return size


def read(stream: Any, where: Where, options: Options) -> Iterator[Item]:
    """The values as documents."""
    held = _Text(as_utf8(stream, options))
    held.more()
    held.skip(int(held.text.startswith("\ufeff")))
    held.skip(_after(SPACE, held))
    is_array = held.text.startswith("[", held.at)
    held.skip(held.at + is_array)
    decoder = json.JSONDecoder()
    while True:
        held.skip(_after(BETWEEN if is_array else SPACE, held))
        left = len(held.text) - held.at
        if left < READ_BYTES // 4 and not held.is_whole:
            held.more()
            continue
        if not left:
            break
        if is_array and held.text[held.at] == "]":
            is_array = False  # whatever follows is looked at as well
            held.skip(held.at + 1)
            continue
        value, problem, end = None, "", held.at + 1
        try:
            value, end = decoder.raw_decode(held.text, held.at)
        except json.JSONDecodeError as error:
            problem, end = str(error.msg), max(error.pos, end)
        except RecursionError:
            problem = "nesting too deep"
        except ValueError as error:  # a number of more digits than Python converts
            problem = str(error)
        if (problem or end == len(held.text)) and not held.is_whole:
            if left <= 2 * options.max_document_bytes:
                held.more()
                continue
            problem = problem or "too long"
        locator = str(held.offset)
        if problem:
            follows = NEXT.search(held.text, end - 1)
            size = held.skip(follows.end() if follows else len(held.text))
            words = f"got no JSON ({problem}), expected an object"
            yield Malformed(where.uri, locator, words, size, is_stretch=True)
            continue
        size = held.skip(end)
        if size > options.max_document_bytes:
            words = f"got {size} bytes, expected at most max_document_bytes = {options.max_document_bytes}"
            yield Malformed(where.uri, locator, words, size, is_stretch=isinstance(value, list | dict))
        elif not isinstance(value, dict):
            words = f"got a JSON {kind_of(value)}, expected an object"
            yield Malformed(where.uri, locator, words, size, is_stretch=isinstance(value, list))
        else:
            yield record_of(value, where, options, locator, "", size)
    if held.damage is not None:
        yield rest_of(where, held.offset, held.damage)
    elif is_array:
        yield Malformed(where.uri, str(held.offset), "got an array without an end, expected a whole file")


def _after(pattern: re.Pattern[str], held: _Text) -> int:
    """Where what the pattern matches at the place ends."""
    match = pattern.match(held.text, held.at)
    return match.end() if match else held.at
