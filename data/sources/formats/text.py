"""Plain text: a file is a document (.txt, .md, .rst, .py); its encoding is found where it is not UTF-8."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from millrace.data.sources.bytes.encodings import UnknownEncodingError, decode
from millrace.data.sources.bytes.streams import READ_BYTES, Damaged
from millrace.data.sources.records import Malformed, Options, Record, Where


def read(stream: Any, where: Where, options: Options) -> Iterator[Record | Malformed]:
    """The file's text as one document; of a damaged file, the text before the damage."""
    data, damage = contents(stream, where, options)
    if damage is not None:
        yield damage
    if data is None:
        return
    total = len(data)
    try:
        text, encoding = decode(data, options.encoding)
    except UnknownEncodingError as error:
        yield Malformed(where.uri, str(error.offset), str(error), total)
        return
    if "\0" in text:
        yield Malformed(where.uri, str(text.index("\0")), "got a null character, expected text", total)
        return
    if not text.strip():
        if damage is None:
            yield Malformed(where.uri, "0", "got no text", total, rule="empty")
        return
    metadata: dict[str, object] = {} if encoding is None else {"encoding": encoding}
    if options.default_license is not None:
        metadata["license"] = options.default_license
    lang = "python" if where.name.endswith(".py") else options.default_language
    yield Record(where.uri, "", "", text, lang, metadata)


def contents(stream: Any, where: Where, options: Options) -> tuple[bytes | None, Malformed | None]:
    """All bytes of a file that is a document, those before damage, or None of one that is too large; what is wrong."""
    pieces, total, damage = [], 0, None
    try:
        while total <= options.max_document_bytes and (block := stream.read(READ_BYTES)):
            pieces.append(block)
            total += len(block)
    except Damaged as error:
        damage = Malformed(where.uri, str(total), f"{error}, expected a whole file", where.size_bytes)
    if total > options.max_document_bytes:
        problem = (
            f"got more than max_document_bytes = {options.max_document_bytes} bytes, expected at most that"
        )
        return None, Malformed(where.uri, "0", problem, where.size_bytes)
    return b"".join(pieces), damage
