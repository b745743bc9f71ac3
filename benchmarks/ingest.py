"""Ingestion: megabytes of text a second out of each file format, through the component on Beam's in-process runner.

    python benchmarks/ingest.py --texts 'FOLDER/*.jsonl.zst' [--megabytes 96] [--files 8] [--cores 2]

Texts are cut into documents of about 3 kB, as for ``data_stages.py``, and written into as many files of each format. The
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


FORMATS: dict[str, Callable[[list[str]], bytes]] = {
    "jsonl": _jsonl,
    "jsonl.gz": lambda texts: gzip.compress(_jsonl(texts), 6),
    "jsonl.zst": _zstd,
    "parquet": _parquet,
    "csv": _csv,
    "json": _json,
}


def measure(folder: Path, suffix: str, base: Path, cores: int) -> dict[str, float]:
    """Ingests the files of one format in this process."""

    def ingest(pattern: str, out: str) -> dict[str, float]:
        config = {"sources": {"prose": {"type": "files", "paths": str(folder / pattern)}}}
        return run_component("ingest", config, {}, base / out, cores)[1]

    ingest(f"0.{suffix}", "warm")
    measured = ingest(f"*.{suffix}", "run")
    return {**measured, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def main() -> None:
    """Writes the files and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--texts", action="append", help="pattern of files with texts; may be given again")
    parser.add_argument("--megabytes", type=float, default=96)
    parser.add_argument("--files", type=int, default=8, help="how many files of each format")
    parser.add_argument("--format", action="append", choices=FORMATS, help="default: all")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        folder, suffix, base = arguments.run
        print(json.dumps(measure(Path(folder), suffix, Path(base), arguments.cores)))
        return
    if not arguments.texts:
        parser.error("expected --texts")
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
            for number in range(arguments.files):
                Path(folder, f"{number}.{suffix}").write_bytes(
                    FORMATS[suffix](texts[number :: arguments.files])
                )
            with tempfile.TemporaryDirectory() as base:
                command = [
                    sys.executable,
                    __file__,
                    "--run",
                    folder,
                    suffix,
                    base,
                    "--cores",
                    str(arguments.cores),
                ]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
            print(line(f"ingest {suffix}", size, json.loads(done.stdout.splitlines()[-1])), flush=True)


if __name__ == "__main__":
    main()
