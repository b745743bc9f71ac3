"""HTTP responses of web archives: heads as browsers read them, and bodies as far as they were left encoded."""

from __future__ import annotations

import gzip
import zlib

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from millrace.data.sources.bytes.http_message import Head, body_of, content_type, head_of, headers_of
from millrace.data.sources.bytes.streams import Damaged

PAGE = b"<html><head><title>Floods</title></head><body><p>The river rose in the night.</p></body></html>"
RAW_DEFLATE = zlib.compressobj(wbits=-15)
CODED = {
    "identity": PAGE,
    "gzip": gzip.compress(PAGE),
    "deflate": zlib.compress(PAGE),
    "Deflate": RAW_DEFLATE.compress(PAGE) + RAW_DEFLATE.flush(),
    "br": brotli.compress(PAGE),
    "zstd": zstandard.compress(PAGE),
    "GZIP, br": brotli.compress(gzip.compress(PAGE)),
}


def chunked(body: bytes, size: int = 50) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x;a=b\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


@pytest.mark.parametrize("coding", CODED)
def test_bodies_are_decoded_as_far_as_they_were_left_encoded(coding: str) -> None:
    http = f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    for body in (CODED[coding], chunked(CODED[coding]), PAGE, chunked(PAGE)):
        block = http + body
        assert body_of(block, head_of(block), 10**6, 1e3, is_truncated=False) == PAGE


def test_media_types_and_heads_are_read_as_browsers_do() -> None:
    assert content_type('Text/HTML ; x=y; Charset = "utf-8"') == ("text/html", "utf-8")
    assert content_type(None) == (None, None)
    head = head_of(b"HTTP/2 200\nA: b\n c\nA: d\nno header\n\nbody")
    assert (head.status, dict(head.headers), head.size_bytes) == (200, {"a": "d"}, 35)
    with pytest.raises(Damaged, match="max_document_bytes = 3"):
        body_of(b"HTTP/1.1 200\r\n\r\nbody", head_of(b"HTTP/1.1 200\r\n\r\n"), 3, 1e3, is_truncated=False)


@given(st.binary(max_size=200), st.integers(1, 60))
def test_a_chunked_body_comes_back_whatever_the_chunks(body: bytes, size: int) -> None:
    head = head_of(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    block = b" " * head.size_bytes + chunked(body, size)
    assert body_of(block, head, 10**6, 1e3, is_truncated=False) == body


@given(st.binary(max_size=60))
def test_any_bytes_have_a_head(block: bytes) -> None:
    head = head_of(block)
    assert 0 <= head.size_bytes <= len(block)
    assert all(name == name.lower() for name in head.headers)


@pytest.mark.parametrize(("cut", "is_damaged"), [(True, False), (False, True)])
def test_a_chunked_body_without_its_end_is_damaged_unless_the_crawler_cut_it(
    cut: bool, is_damaged: bool
) -> None:
    head = Head(200, {"transfer-encoding": "chunked"}, 0)
    block = chunked(PAGE, 20)[:-25]
    if is_damaged:
        with pytest.raises(Damaged, match="a chunked body without its end"):
            body_of(block, head, 10**6, 1e3, is_truncated=cut)
    else:
        found = body_of(block, head, 10**6, 1e3, is_truncated=cut)
        assert PAGE.startswith(found)
        assert len(found) > 40


def test_a_header_in_an_old_encoding_is_read_and_a_continued_one_is_whole() -> None:
    assert headers_of([b"X: Gr\xf6\xdfe\r", b"\tund Farbe", b": nameless", b"no colon"]) == {
        "x": "Größe und Farbe"
    }
