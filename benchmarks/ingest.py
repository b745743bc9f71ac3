"""Ingestion: megabytes of text a second out of each file format and of git, through the component on Beam's runner.

    python benchmarks/ingest.py --texts 'FOLDER/*.jsonl.zst' [--megabytes 96] [--files 8] [--cores 2]
    python benchmarks/ingest.py --pages PAGES.parquet

Texts are cut into documents of about 3 kB, as for ``data_stages.py``, and written into as many files of each format; for
``--format git``, each into a file of a repository; ``--repository FOLDER`` reads a real one instead of texts. The
component reads one file first, which loads its compiled code, and then all of them; every format in a fresh process.
Time is of the stage alone: reading, ids, decisions, and writing Parquet.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from html import escape
from pathlib import Path

from data_stages import line, read_texts, run_component, sections


def _jsonl(texts: list[str]) -> bytes:
    return "".join(json.dumps({"text": text, "number": at}) + "\n" for at, text in enumerate(texts)).encode()


def _zstd(texts: list[str]) -> bytes:
    import zstandard

    return zstandard.compress(_jsonl(texts))


def _csv(texts: list[str]) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["text", "number"])
    writer.writerows((text, at) for at, text in enumerate(texts))
    return out.getvalue().encode()


def _json(texts: list[str]) -> bytes:
    return json.dumps([{"text": text, "number": at} for at, text in enumerate(texts)]).encode()


def _parquet(texts: list[str]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    table = pa.table({"text": texts, "number": range(len(texts))})
    pq.write_table(table, out, compression="zstd", row_group_size=4096)
    return out.getvalue()


def _array_record(texts: list[str]) -> bytes:
    from array_record.python.array_record_module import ArrayRecordWriter

    with tempfile.NamedTemporaryFile() as file:
        writer = ArrayRecordWriter(file.name, "group_size:1")
        for text in texts:
            writer.write(text.encode())
        writer.close()
        return Path(file.name).read_bytes()


def _page(text: str) -> bytes:
    paragraphs = "".join(f"<p>{escape(part)}</p>\n" for part in text.split("\n\n"))
    menu = "".join(f"<li><a href='/{at}'>Topic {at}</a></li>" for at in range(40))
    head = "<head><meta charset='utf-8'><title>A page</title></head>"
    return f"<!doctype html><html>{head}<body><nav><ul>{menu}</ul></nav><main>{paragraphs}</main></body></html>".encode()


def _warc(texts: list[str], pages: list[bytes] | None = None) -> bytes:
    out = []
    for at, page in enumerate(pages if pages is not None else map(_page, texts)):
        block = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + page
        head = f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: https://example.org/{at}\r\n"
        head += f"Content-Type: application/http\r\nContent-Length: {len(block)}\r\n\r\n"
        out.append(head.encode() + block + b"\r\n\r\n")
    return b"".join(out)


def _wet(texts: list[str]) -> bytes:
    out = []
    for at, text in enumerate(texts):
        block = text.encode()
        head = f"WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Target-URI: https://example.org/{at}\r\n"
        head += f"Content-Type: text/plain\r\nContent-Length: {len(block)}\r\n\r\n"
        out.append(head.encode() + block + b"\r\n\r\n")
    return b"".join(out)


FORMATS: dict[str, Callable[[list[str]], bytes]] = {
    "jsonl": _jsonl,
    "jsonl.gz": lambda texts: gzip.compress(_jsonl(texts), 6),
    "jsonl.zst": _zstd,
    "parquet": _parquet,
    "csv": _csv,
    "json": _json,
    "array_record": _array_record,
    "warc": _warc,
    "wet": _wet,
}


def measure(folder: Path, suffix: str, base: Path, cores: int) -> dict[str, float]:
    """Ingests the files of one format in this process."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    def ingest(out: str, **source: object) -> dict[str, float]:
        config = {"sources": {"prose": source}, "max_bad_fraction": 0.1}
        outputs, measured = run_component("ingest", config, {}, base / out, cores)
        tables = [
            pq.read_table(path, columns=["text"]) for path in Path(outputs["documents"]).glob("*.parquet")
        ]
        text_bytes = sum(pc.sum(pc.binary_length(table["text"])).as_py() or 0 for table in tables)
        return {**measured, "text_bytes": text_bytes}

    if suffix == "git":
        ingest("warm", type="git", repository=str(folder), max_documents=100)
        measured = ingest("run", type="git", repository=str(folder))
    else:
        ingest("warm", type="files", paths=str(folder / f"0.{suffix}"))
        measured = ingest("run", type="files", paths=str(folder / f"*.{suffix}"))
    return {**measured, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def apart(folder: Path, suffix: str, cores: int) -> dict[str, float]:
    """``measure`` in a process of its own."""
    with tempfile.TemporaryDirectory() as base:
        command = [sys.executable, __file__, "--cores", str(cores), "--run", str(folder), suffix, base]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def write_repository(folder: Path, texts: list[str]) -> None:
    """Commits a file for each text."""
    for number, text in enumerate(texts):
        path = folder / f"{number // 1000:03d}/{number:06d}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "--all"], ["commit", "-qm", "all"]):
        subprocess.run(["git", "-C", str(folder), *who, *command], check=True)


def measure_pages(parquet: str, megabytes: float, cores: int) -> None:
    """Ingests real pages, repeated, as files of their own and as eight web archives; megabytes are those of HTML."""
    import pyarrow.parquet as pq

    pages = pq.read_table(parquet, columns=["html"])["html"].to_pylist()
    pages *= max(1, round(megabytes * 1e6 / sum(map(len, pages))))
    size = sum(map(len, pages))
    print(f"{len(pages)} pages, {size / 1e6:.0f} MB", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for at, page in enumerate(pages):
            Path(folder, f"{at}.html").write_bytes(page)
        for number in range(8):
            Path(folder, f"{number}.warc").write_bytes(_warc([], pages[number::8]))
        for suffix in ("html", "warc"):
            print(line(f"ingest {suffix}", size, apart(Path(folder), suffix, cores)), flush=True)


def main() -> None:
    """Writes the files and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--texts", action="append", help="pattern of files with texts; may be given again")
    parser.add_argument("--pages", help="Parquet file with a column html: measures real pages instead")
    parser.add_argument("--megabytes", type=float, default=96)
    parser.add_argument("--files", type=int, default=8, help="how many files of each format")
    parser.add_argument("--format", action="append", choices=[*FORMATS, "git"], help="default: all files")
    parser.add_argument("--repository", type=Path, help="a git repository to read")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        folder, suffix, base = arguments.run
        print(json.dumps(measure(Path(folder), suffix, Path(base), arguments.cores)))
        return
    if arguments.repository:
        measured = apart(arguments.repository, "git", arguments.cores)
        print(line("ingest git", int(measured["text_bytes"]), measured))
        return
    if arguments.pages:
        measure_pages(arguments.pages, arguments.megabytes, arguments.cores)
        return
    if not arguments.texts:
        parser.error("expected --texts, --pages or --repository")
    texts: list[str] = []
    size = 0
    for part in (
        part for pattern in arguments.texts for text in read_texts(pattern) for part in sections(text)
    ):
        if size >= arguments.megabytes * 1e6:
            break
        if part.strip():
            texts.append(part)
            size += len(part.encode())
    with tempfile.TemporaryDirectory() as folder:
        for suffix in arguments.format or FORMATS:
            if suffix == "git":
                write_repository(Path(folder, "repository"), texts)
                measured = apart(Path(folder, "repository"), suffix, arguments.cores)
                print(line("ingest git", size, measured), flush=True)
                continue
            for number in range(arguments.files):
                Path(folder, f"{number}.{suffix}").write_bytes(
                    FORMATS[suffix](texts[number :: arguments.files])
                )
            print(line(f"ingest {suffix}", size, apart(Path(folder), suffix, arguments.cores)), flush=True)


if __name__ == "__main__":
    main()
