"""Plain text: a file is a document (.txt, .md, .rst, .py)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..records import Malformed, Options, Record, Where
from ..streams import READ_BYTES, Damaged


def read(stream: Any, where: Where, options: Options) -> Iterator[Record | Malformed]:
    """The file's text as one document; of a damaged file, what comes before the damage."""
    pieces, total, damage = [], 0, None
    try:
        while total <= options.max_document_bytes and (block := stream.read(READ_BYTES)):
            pieces.append(block)
            total += len(block)
    except Damaged as error:
        damage = Malformed(where.uri, str(total), f"{error}, expected a whole file", where.size_bytes)
    if damage is not None:
        yield damage
    if total > options.max_document_bytes:
        problem = (
            f"got more than max_document_bytes = {options.max_document_bytes} bytes, expected at most that"
        )
        yield Malformed(where.uri, "0", problem, where.size_bytes)
        return
    try:
        text = b"".join(pieces).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problem = f"got invalid UTF-8 ({error.reason}), expected UTF-8"
        yield Malformed(where.uri, str(error.start), problem, total)
        return
    text = text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
    if not text.strip():
        if damage is None:
            yield Malformed(where.uri, "0", "got no text", total, rule="empty")
        return
    metadata = {} if options.default_license is None else {"license": options.default_license}
    lang = "python" if where.name.endswith(".py") else options.default_language
    yield Record(where.uri, "", "", text, lang, metadata)
