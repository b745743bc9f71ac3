"""HTTP responses as web archives keep them: status, headers, and the body without its transfer and content encodings.

Crawlers differ: some decode bodies and leave the headers unchanged. So a header's encoding is believed only if the body
confirms it: a body that does not start as gzip, or with the size of a chunk, is taken as it is.

References:
    RFC 9112, HTTP/1.1 (sections 4, 5 and 7.1, chunked). RFC 9110, HTTP Semantics (section 8.4, content codings).
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Mapping
from typing import NamedTuple

from .streams import Damaged, Decompressed

STATUS = re.compile(rb"HTTP/\d(?:\.\d)?[ \t]+(\d{3})")
HEADER_END = re.compile(rb"\r?\n\r?\n")
CHUNK = re.compile(rb"[ \t]*([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]{0,999})?\r?\n")
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


class Head(NamedTuple):
    """The head of a response.

    Attributes:
        status: 200 for a page; None where there is no status line.
        headers: Name in lower case -> value, the last of those that repeat.
        size_bytes: Where the body starts.
    """

    status: int | None
    headers: Mapping[str, str]
    size_bytes: int


def head_of(block: bytes) -> Head:
    """The head of a response, from its first bytes."""
    match = STATUS.match(block)
    end = HEADER_END.search(block)
    lines = block[: end.start() if end else len(block)].split(b"\n")[1:]
    size = end.end() if end else len(block)
    return Head(int(match[1]) if match else None, headers_of(lines), size)


def headers_of(lines: list[bytes]) -> dict[str, str]:
    """Lines of ``Name: value`` as a mapping; a line that starts with white space continues the one before."""
    found: dict[str, str] = {}
    name = ""
    for line in lines:
        if line[:1] in (b" ", b"\t") and name:
            found[name] += " " + _word(line)
            continue
        before, colon, value = line.partition(b":")
        name = _word(before).lower() if colon else ""
        if name:
            found[name] = _word(value)
    return found


def _word(value: bytes) -> str:
    try:
        return value.decode().strip()
    except UnicodeDecodeError:
        return value.decode("cp1252", "replace").strip()


def content_type(value: str | None) -> tuple[str | None, str | None]:
    """A Content-Type's media type in lower case and its charset."""
    media, _, rest = (value or "").partition(";")
    match = re.search(r"charset\s*=\s*[\"']?\s*([\w:.+-]{1,40})", rest, re.IGNORECASE)
    return media.strip().lower() or None, match[1] if match else None


def body_of(block: bytes, head: Head, max_bytes: int, max_ratio: float, *, is_truncated: bool) -> bytes:
    """A response's body as its page.

    Args:
        block: The whole response.
        head: Its head.
        max_bytes: A larger body is damage.
        max_ratio: So is one that inflates by more.
        is_truncated: Whether the crawler says that it cut the body, which makes an early end none.

    Raises:
        Damaged: It cannot be decoded to its end, or gets too large.
    """
    body = block[head.size_bytes :]
    if "chunked" in head.headers.get("transfer-encoding", "").lower():
        body = _unchunked(body, is_truncated)
    for coding in reversed(head.headers.get("content-encoding", "").lower().split(",")):
        body = _uncoded(body, coding.strip(), max_bytes, max_ratio, is_truncated)
    if len(body) > max_bytes:
        raise Damaged(f"got {len(body)} bytes, expected at most max_document_bytes = {max_bytes}")
    return body


def _unchunked(body: bytes, is_truncated: bool) -> bytes:
    pieces: list[bytes] = []
    at = 0
    while match := CHUNK.match(body, at):
        size = int(match[1], 16)
        if size == 0:
            return b"".join(pieces)
        piece = body[match.end() : match.end() + size]
        after = match.end() + size
        ending = body[after : after + 2]
        if not pieces and (len(piece) < size or ending[:1] not in (b"\r", b"\n", b"")) and not is_truncated:
            break  # text that begins like a chunk
        pieces.append(piece)
        at = after + (2 if ending == b"\r\n" else ending[:1] == b"\n")
    if not pieces or is_truncated:
        return b"".join(pieces) or body
    raise Damaged("got a chunked body without its end")


def _uncoded(body: bytes, coding: str, max_bytes: int, max_ratio: float, is_truncated: bool) -> bytes:
    if coding in ("gzip", "x-gzip") and body.startswith(GZIP):
        return _inflated(body, "gzip", max_bytes, max_ratio, is_truncated)
    if coding == "zstd" and body.startswith(ZSTD):
        return _inflated(body, "zstd", max_bytes, max_ratio, is_truncated)
    if coding == "br":
        return _unbrotli(body, max_bytes)
    return _undeflated(body, max_bytes) if coding == "deflate" else body


def _inflated(body: bytes, kind: str, max_bytes: int, max_ratio: float, is_truncated: bool) -> bytes:
    stream = Decompressed(io.BytesIO(body), kind, max_bytes=max_bytes, max_ratio=max_ratio)
    pieces = []
    try:
        while piece := stream.read(1 << 20):
            pieces.append(piece)
    except Damaged:
        if not is_truncated or stream.given_bytes > max_bytes:
            raise
    return b"".join(pieces)


def _undeflated(body: bytes, max_bytes: int) -> bytes:
    for bits in (15, -15):  # with zlib's header as the standard says, and without, as many servers have it
        decoder = zlib.decompressobj(bits)
        try:
            found = decoder.decompress(body, max_bytes + 1)
        except zlib.error:
            continue
        if found:
            return found
    return body


def _unbrotli(body: bytes, max_bytes: int) -> bytes:
    import brotli

    decoder = brotli.Decompressor()
    pieces, total, fed = [], 0, body
    try:
        while total <= max_bytes:
            piece = decoder.process(fed, output_buffer_limit=1 << 20)
            fed = b""
            pieces.append(piece)
            total += len(piece)
            if decoder.is_finished() or (not piece and decoder.can_accept_more_data()):
                break
    except brotli.error:
        return body if not pieces else b"".join(pieces)
    return b"".join(pieces)
