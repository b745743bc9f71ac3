"""Web archives: which records are documents, what is known about them, bodies in every coding, and damage."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable
from pathlib import Path

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from tests.corrupting import read_file

from millrace.data.filters.url import compile_lists, measure
from millrace.data.sources import files
from millrace.data.sources.bytes.streams import Peeked
from millrace.data.sources.formats import warc
from millrace.data.sources.records import Malformed, Options, Record, Where
from millrace.data.text.batch import from_texts

WORDS = "The river rose in the night, and by morning the lower fields stood under water."
PAGE = (
    f"<html><head><title>Floods</title></head><body><article><p>{WORDS}</p></article></body></html>".encode()
)
URL = "https://example.org/floods"


def record(kind: str, block: bytes, version: str = "1.0", **fields: str) -> bytes:
    named = {"WARC-Type": kind, "WARC-Target-URI": URL, "WARC-Date": "2024-05-01T10:00:00Z"}
    named |= {"WARC-Record-ID": "<urn:uuid:1>", "Content-Length": str(len(block))}
    named |= {name.replace("_", "-"): value for name, value in fields.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"WARC/{version}\r\n{head}\r\n".encode() + block + b"\r\n\r\n"


def response(
    body: bytes = PAGE, http: str = "Content-Type: text/html", status: str = "200 OK", **fields: str
) -> bytes:
    block = f"HTTP/1.1 {status}\r\n{http}\r\n\r\n".encode() + body
    return record("response", block, Content_Type="application/http; msgtype=response", **fields)


def items(folder: Path, data: bytes, name: str = "a.warc", **options: object) -> list[Record | Malformed]:
    (folder / name).write_bytes(data)
    parts = files.plan([str(folder / name)], Options(**options))  # type: ignore[arg-type]
    found = [item for part in parts for item in files.read(part)]
    return [item for item in found if isinstance(item, Record | Malformed)]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_response_is_a_document_with_its_address_date_id_and_offset(tmp_path: Path, version: str) -> None:
    info = record("warcinfo", b"software: x\r\n", version, Content_Type="application/warc-fields")
    request = record("request", b"GET / HTTP/1.1\r\n\r\n", version, Content_Type="application/http")
    page = response(version=version)
    found = items(tmp_path, info + request + page + record("metadata", b"a: b", version))
    (one,) = found
    assert isinstance(one, Record)
    assert one.text == WORDS
    assert one.locator == one.key == str(len(info + request))
    assert one.metadata == {
        "url": URL,
        "date": "2024-05-01T10:00:00Z",
        "record_id": "urn:uuid:1",
        "content_type": "text/html",
        "title": "Floods",
    }


def test_members_of_gzip_and_frames_of_zstd_follow_each_other(tmp_path: Path) -> None:
    pages = [response(), response(b"plain", "Content-Type: text/plain")]
    for name, pack in (("a.warc.gz", gzip.compress), ("b.warc.zst", zstandard.compress)):
        found = items(tmp_path, b"".join(map(pack, pages)), name)
        assert [one.locator for one in found] == ["0", str(len(pages[0]))]
        assert [one.text for one in found if isinstance(one, Record)] == [WORDS, "plain"]


def test_conversions_of_wet_give_their_text_as_it_is(tmp_path: Path) -> None:
    text = "<p> is no tag here & stays\n  so"
    wet = record(
        "conversion", text.encode(), Content_Type="text/plain", WARC_Identified_Content_Language="deu,eng"
    )
    for name in ("a.warc.wet", "a.wet", "a.warc.wet.gz"):
        (one,) = items(tmp_path, gzip.compress(wet) if name.endswith("gz") else wet, name)
        assert isinstance(one, Record)
        assert one.text == text
        assert one.metadata["language"] == "deu"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (response(status="404 Not Found"), "got a response of status 404, expected 200"),
        (response(status="nothing"), "got a response of status None, expected 200"),
        (response(http="Content-Type: image/png"), "got image/png, expected text/html"),
        (response(b"\x89PNG", "Server: x"), "got no media type, expected text/html"),
        (record("revisit", b""), "got a revisit of a page that was captured before"),
        (record("screenshot", b"x"), "got a record of type 'screenshot'"),
        (record("resource", b"%PDF", Content_Type="application/pdf"), "got application/pdf"),
    ],
)
def test_what_is_no_page_is_skipped_with_the_reason(tmp_path: Path, data: bytes, problem: str) -> None:
    (one,) = items(tmp_path, data)
    assert isinstance(one, Malformed)
    assert one.rule == "skipped"
    assert one.problem.startswith(problem)


@pytest.mark.parametrize(
    "data",
    [
        record("warcinfo", b"a: b"),
        record("request", b"GET / HTTP/1.1\r\n\r\n"),
        record("metadata", b"a: b"),
        record("response", b"1", WARC_Target_URI="dns:example.org", Content_Type="text/dns"),
        record(
            "resource", b"log", WARC_Target_URI="<metadata://gnu.org/wget.log>", Content_Type="text/plain"
        ),
    ],
)
def test_what_is_about_the_crawl_is_nothing(tmp_path: Path, data: bytes) -> None:
    assert items(tmp_path, data) == []


def test_a_resource_is_its_block_and_a_page_without_a_media_type_is_known_by_its_start(
    tmp_path: Path,
) -> None:
    data = record("resource", PAGE, Content_Type="text/html; charset=utf-8")
    data += response(b"\n<!DOCTYPE html>" + PAGE, "Server: x")
    data += response(PAGE, "Server: x", WARC_Identified_Payload_Type="application/xhtml+xml")
    assert [one.text for one in items(tmp_path, data) if isinstance(one, Record)] == [WORDS] * 3


def test_the_servers_charset_counts(tmp_path: Path) -> None:
    page = response("<p>Größe</p>".encode("latin-1"), "content-type: TEXT/HTML;charset=latin1")
    plain = response("Größe".encode("cp1250"), 'Content-Type: text/plain; charset="windows-1250"')
    found = items(tmp_path, page + plain)
    assert [one.text for one in found if isinstance(one, Record)] == ["Größe", "Größe"]
    assert [one.metadata["encoding"] for one in found if isinstance(one, Record)] == ["cp1252", "cp1250"]


def chunked(body: bytes, size: int = 50) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x;a=b\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def test_a_body_that_breaks_off_is_malformed_unless_the_crawler_says_so(tmp_path: Path) -> None:
    html = "Content-Type: text/html\r\n"
    cut = response(gzip.compress(PAGE * 9)[:-20], html + "Content-Encoding: gzip")
    piece = response(chunked(PAGE)[:-30], html + "Transfer-Encoding: chunked")
    said = response(gzip.compress(PAGE, 0)[:-20], html + "Content-Encoding: gzip", WARC_Truncated="length")
    found = items(tmp_path, cut + piece + said)
    assert [type(one) for one in found] == [Malformed, Malformed, Record]
    assert isinstance(found[2], Record)
    assert found[2].metadata["truncated"] == "length"
    assert found[2].text.startswith(WORDS)


@pytest.mark.parametrize("pack", [gzip.compress, brotli.compress, zlib.compress])
def test_a_body_that_inflates_beyond_a_document_is_malformed(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    coding = {gzip.compress: "gzip", brotli.compress: "br", zlib.compress: "deflate"}[pack]
    http = f"Content-Type: text/html\r\nContent-Encoding: {coding}"
    bomb = response(pack(b"<p>x" * 3_000_000), http)
    found = items(tmp_path, bomb + response(), max_document_bytes=2**20)
    assert [type(one) for one in found] == [Malformed, Record]


@pytest.mark.parametrize(
    ("damage", "lost"),
    [
        (lambda data: data.replace(b"WARC/1.0", b"WARX/1.0", 1), 1),
        (lambda data: data.replace(b"Content-Length: ", b"Content-Length: 9", 1), 1),
        (lambda data: data.replace(b"Content-Length: ", b"Content-Length: 99999999999", 1), 1),
        (lambda data: data.replace(b"Content-Length: 2", b"Content-Length: 1", 1), 1),
        (lambda data: data.replace(b"Content-Length: ", b"Content-Length: x", 1), 1),
        (lambda data: data.replace(b"WARC-Type", b"WARC-Typo", 1), 1),
        (lambda data: data[:300] + data[310:], 1),
        (lambda data: data[:300] + bytes(10) + data[300:], 1),
        (lambda data: b"\0" * 100_000 + data, 0),
        (lambda data: data[:-10], 1),
    ],
)
def test_a_damaged_record_costs_that_record_and_says_so(tmp_path: Path, damage: object, lost: int) -> None:
    found = items(tmp_path, damage(response() * 3))  # type: ignore[operator]
    bad = [one for one in found if isinstance(one, Malformed)]
    assert [one.text for one in found if isinstance(one, Record)] == [WORDS] * (3 - lost)
    assert len(bad) == 1
    assert bad[0].rule == "malformed"
    assert bad[0].problem.startswith("got ")


def test_large_records_are_passed_over_in_the_memory_of_a_block(tmp_path: Path) -> None:
    video = response(b"\0" * 3_000_000, "Content-Type: video/mp4")
    found = items(tmp_path, video + response(b"<p>x" * 500_000) + response(), max_document_bytes=2**20)
    skipped, large, after = found
    assert isinstance(skipped, Malformed)
    assert isinstance(large, Malformed)
    assert skipped.problem.startswith("got video/mp4")
    assert large.problem.endswith("bytes, expected at most max_document_bytes = 1048576")
    assert isinstance(after, Record)


@given(
    st.lists(
        st.sampled_from(
            [b"\r\n", b"WARC/1.0\r\n", b"WARC-Type: response\r\n", b"Content-Length: 3\r\n", b"x", b"\n\n"]
        )
    )
)
def test_any_sequence_of_pieces_is_accounted_for_and_ends(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    found = list(warc.read(Peeked(io.BytesIO(data)), Where("a.warc", "a.warc", len(data)), Options()))
    assert bool(found) == bool(data.strip(b"\r\n"))


def test_the_url_rule_finds_the_address_in_the_metadata(tmp_path: Path) -> None:
    (one,) = items(tmp_path, response())
    assert isinstance(one, Record)
    found = measure(from_texts([str(one.metadata["url"])]), compile_lists(domains=["example.org"]))
    assert found["blocked_domains"].tolist() == [1]


def test_a_web_archive_under_another_name_is_read_as_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(response())
    assert read_file(tmp_path / "a.txt") == ([WORDS], [])
