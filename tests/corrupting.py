"""Files of every format, compression and archive, and what can happen to them: flips, cuts, zeros, insertions, names.

``account`` tells the fate of each document of a damaged file, or raises where one is lost silently.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import html
import io
import json
import lzma
import random
import signal
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from millrace.data.sources import files
from millrace.data.sources.formats.registry import ARCHIVES, SUFFIXES
from millrace.data.sources.records import Batch, Malformed, Options, Record

SECONDS_FOR_A_FILE = 60
DOCUMENTS = 40
WORDS = (
    "water",
    "naïve",
    "“so”",
    "he said,",
    "Straße",
    "水",
    "a\nb",
    "die",
    "of",
    "and",
    "the",
    "x=1;",
    "\t",
    "🦀",
)
NAMES = (*SUFFIXES, *ARCHIVES, ".jsonl.gz", ".csv.zst", ".txt.xz", ".parquet.bz2", ".tgz")
KINDS = ("flip", "flips", "cut", "zeros", "insert", "delete", "rename")


def texts(seed: int, count: int = DOCUMENTS) -> list[str]:
    """Documents that all differ, with quotes, line ends and characters of one to four bytes."""
    draw = random.Random(seed)
    return [
        f"Document {seed}-{number}: " + " ".join(draw.choices(WORDS, k=draw.randint(10, 120))).strip()
        for number in range(count)
    ]


def _rows(found: list[str]) -> list[dict[str, str]]:
    return [{"key": f"k{number}", "text": text, "lang": "en"} for number, text in enumerate(found)]


def _jsonl(found: list[str]) -> bytes:
    return "".join(
        json.dumps(row, ensure_ascii=number % 2 == 0) + "\n" for number, row in enumerate(_rows(found))
    ).encode()


def _separated(delimiter: str) -> Callable[[list[str]], bytes]:
    def write(found: list[str]) -> bytes:
        out = io.StringIO()
        writer = csv.DictWriter(out, ["key", "text", "lang"], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(_rows(found))
        return out.getvalue().encode()

    return write


def _parquet(**options: Any) -> Callable[[list[str]], bytes]:
    def write(found: list[str]) -> bytes:
        out = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(_rows(found)), out, row_group_size=16, **options)
        return out.getvalue()

    return write


def _arrow(kind: Any, compression: str | None) -> Callable[[list[str]], bytes]:
    def write(found: list[str]) -> bytes:
        out = io.BytesIO()
        table = pa.Table.from_pylist(_rows(found))
        with kind(out, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
            writer.write_table(table, max_chunksize=16)
        return out.getvalue()

    return write


def _text(found: list[str]) -> bytes:
    return found[0].encode()


def _page(text: str) -> bytes:
    words = f"<article><p>{html.escape(text)}</p></article>"
    return f"<!doctype html><html><head><meta charset=utf-8><title>A page</title></head><body>{words}</body></html>".encode()


def _record(kind: str, block: bytes, **fields: str) -> bytes:
    named = {"WARC-Type": kind, "Content-Length": str(len(block))}
    named |= {name.replace("_", "-"): value for name, value in fields.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"WARC/1.0\r\n{head}\r\n".encode() + block + b"\r\n\r\n"


def _warc(found: list[str]) -> bytes:
    """Requests, responses (every third compressed, every other third in chunks) and metadata, as crawlers write them."""
    out = [_record("warcinfo", b"software: none\r\n", Content_Type="application/warc-fields")]
    for number, text in enumerate(found):
        page, more = _page(text), ""
        if number % 3 == 1:
            page, more = gzip.compress(page), "Content-Encoding: gzip\r\n"
        elif number % 3 == 2:
            page, more = (
                b"64\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (page[:100], len(page) - 100, page[100:]),
                "Transfer-Encoding: chunked\r\n",
            )
        head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=UTF-8\r\n{more}\r\n"
        known = {
            "WARC_Target_URI": f"https://example.org/{number}",
            "WARC_Date": "2024-05-01T10:00:00Z",
            "WARC_Record_ID": f"<urn:uuid:00000000-0000-0000-0000-{number:012}>",
        }
        http = "application/http; msgtype="
        out.append(_record("request", b"GET / HTTP/1.1\r\n\r\n", **known, Content_Type=f"{http}request"))
        out.append(_record("response", head.encode() + page, **known, Content_Type=f"{http}response"))
        out.append(
            _record("metadata", b"fetchTimeMs: 7\r\n", **known, Content_Type="application/warc-fields")
        )
    return b"".join(out)


def _wet(found: list[str]) -> bytes:
    return b"".join(
        _record(
            "conversion",
            text.encode(),
            WARC_Target_URI=f"https://example.org/{number}",
            Content_Type="text/plain",
        )
        for number, text in enumerate(found)
    )


FORMATS: dict[str, Callable[[list[str]], bytes]] = {
    ".txt": _text,
    ".html": lambda found: _page(found[0]),
    ".warc": _warc,
    ".wet": _wet,
    ".json": lambda found: json.dumps(_rows(found), indent=1, ensure_ascii=False).encode(),
    ".jsonl": _jsonl,
    ".csv": _separated(","),
    ".tsv": _separated("\t"),
    ".parquet": _parquet(compression="zstd"),
    ".snappy.parquet": _parquet(),
    ".checked.parquet": _parquet(compression="none", write_page_checksum=True, data_page_version="2.0"),
    ".arrow": _arrow(pa.ipc.new_file, None),
    ".stream.arrow": _arrow(pa.ipc.new_stream, "zstd"),
}
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}


class Made(NamedTuple):
    """A file before anything happened to it.

    Attributes:
        suffix: Of its name.
        data: Its bytes.
        texts: Its documents, in order.
    """

    suffix: str
    data: bytes
    texts: list[str]


def made(seed: int) -> Iterator[Made]:
    """A file of every format and compression, and archives of members of several formats."""
    for place, (suffix, write) in enumerate(FORMATS.items()):
        found = texts(seed * 1000 + place)
        if suffix in (".html", ".warc"):
            found = [" ".join(text.split()) for text in found]
        if suffix in (".txt", ".html"):
            found = ["\n".join(found) if suffix == ".txt" else " ".join(found)]
        for compression, pack in COMPRESSIONS.items():
            yield Made(suffix + compression, pack(write(found)), found)
    members = [
        (f"folder/{place}{suffix}", write, texts(seed * 1000 + 100 + place, 8))
        for place, (suffix, write) in enumerate(FORMATS.items())
        if suffix in (".txt", ".jsonl", ".csv", ".parquet", ".json")
    ]
    members = [(name, write, found[:1] if name.endswith(".txt") else found) for name, write, found in members]
    everything = [text for _, _, found in members for text in found]
    for suffix, mode in {".tar": "w", ".tar.gz": "w:gz", ".tar.xz": "w:xz", ".tgz": "w:gz"}.items():
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
            for name, write, found in members:
                info = tarfile.TarInfo(name)
                data = write(found)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        yield Made(suffix, out.getvalue(), everything)
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", method) as archive:
            for name, write, found in members:
                archive.writestr(name, write(found))
        yield Made(".zip", out.getvalue(), everything)


def accident(files_made: list[Made], draw: random.Random) -> tuple[Made, str, str, bytes]:
    """A file, what happens to it, and its suffix and bytes afterwards."""
    one, kind = draw.choice(files_made), draw.choice(KINDS)
    suffix = draw.choice(NAMES) if kind == "rename" else one.suffix
    return one, kind, suffix, corrupted(one.data, kind, draw)


def corrupted(data: bytes, kind: str, draw: random.Random) -> bytes:
    """The bytes after one accident."""
    at = draw.randrange(len(data))
    size = draw.choice((1, 4, 64, 512, 4096))
    held = bytearray(data)
    if kind in ("flip", "flips"):
        for _ in range(1 if kind == "flip" else draw.randint(2, 40)):
            held[draw.randrange(len(held))] ^= 1 << draw.randrange(8)
    elif kind == "cut":
        del held[at:]
    elif kind == "zeros":
        held[at : at + size] = bytes(len(held[at : at + size]))
    elif kind == "insert":
        held[at:at] = draw.randbytes(size)
    elif kind == "delete":
        del held[at : at + size]
    return bytes(held)


@contextmanager
def no_hang() -> Iterator[None]:
    """Raises ``TimeoutError`` inside of what takes too long."""

    def ring(signum: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"got no end within {SECONDS_FOR_A_FILE} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS_FOR_A_FILE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def read_file(path: Path) -> tuple[list[str], list[Malformed]]:
    """The texts that are found in a file and what is malformed, with everything else that is promised checked."""
    found: list[str] = []
    bad: list[Malformed] = []
    with no_hang():
        for part in files.plan([str(path)], Options()):
            for item in files.read(part):
                assert item.uri.startswith(str(path))
                if isinstance(item, Malformed):
                    assert item.problem.startswith(("got ", "line ", "row ")), item.problem
                    assert item.size_bytes >= 0
                    bad.append(item)
                elif isinstance(item, Record):
                    found.append(item.text)
                else:
                    assert isinstance(item, Batch)
                    item.texts.validate(full=True)
                    found += item.texts.to_pylist()
    assert all(text.strip() for text in found)
    return found, bad


def account(made_file: Made, kind: str, found: list[str], is_decided: bool) -> str:
    """The fate of a damaged file's documents, as one word.

    Args:
        made_file: The file before the damage.
        kind: Kind of damage, one of ``KINDS``.
        found: The texts that were read.
        is_decided: Whether anything of the file is malformed or skipped.

    Returns:
        ``whole`` (all are there), ``decided`` (something is malformed), ``changed`` (as many are there, some of them with
        other bytes inside, which no checksum guards), ``shorter`` (a plain file that ends
        early, or lacks bytes inside, may be a whole one too), ``text`` (a name says that it is one text).

    Raises:
        AssertionError: A document is gone without a word.
    """
    missing = Counter(made_file.texts) - Counter(found)
    strange = Counter(found) - Counter(made_file.texts)
    if is_decided:
        return "decided"
    if not missing.total():
        return "whole" if not strange else "changed"
    if missing.total() <= strange.total():
        return "changed"
    if kind == "rename" and len(found) == 1 and "Document" in found[0]:
        return "text"
    if kind == "cut" and made_file.suffix in (
        ".jsonl",
        ".csv",
        ".tsv",
        ".warc",
        ".wet",
        ".stream.arrow",
    ):  # a stream of Arrow may end without its mark
        kept = found[:-1] if found and found[-1] not in made_file.texts else found
        assert kept == made_file.texts[: len(kept)]
        return "shorter"
    if kind == "delete" and made_file.suffix in (".json", ".jsonl", ".csv", ".tsv", ".tar", ".warc", ".wet"):
        return "shorter"  # from inside one text to inside another, or a whole member of an archive
    raise AssertionError(f"{made_file.suffix} {kind}: {missing.total()} documents are gone without a word")
