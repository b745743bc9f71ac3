"""Tracing at scale: seconds to answer a question about one of N documents, and what the indexes cost.

    python benchmarks/trace.py [--documents 10000000] [--store /tmp/trace-store] [--keep] [--json]

A store is built as a run would have left it, through the store's own publishing and the stages' own writers: two sources
(70% records of large files, 30% files of their own), texts of some 1.2 kB out of a vocabulary of 100,000 words whose
frequencies fall as in natural language, decisions of four stages (10% dropped by a filter, 5% as near-duplicates with
their survivors, a few contaminated), a document table of the token streams, and a training of three phases. Token ids
and the texts of later stages are left out, since no question reads them. Then each question is asked in fresh
processes, which pay for Python's start too, and in a warm one.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from millrace.data.documents import shards as documents
from millrace.data.documents.ids import document_ids
from millrace.data.training import streams as token_stream
from millrace.pipelines.store.record import StageRecord
from millrace.pipelines.store.store import Store

RUN = "20260101-000000-aaaa"
SHARD_DOCUMENTS = 10_000  # about 12 MB of text, as ingestion cuts it
FILE_RECORDS = 100_000
VOCABULARY = 100_000
PLANTED = "the quiet miller counts each grain before the flood"
COMMAND = [sys.executable, "-c", "from millrace.pipelines.cli import main; main()"]
SOURCES = ("web", "code")
STAGES = ("filter", "dedup", "decontaminate")


@lru_cache(maxsize=1)
def vocabulary() -> tuple[np.ndarray, np.ndarray]:
    """Words of 2 to 11 letters with a space after each, one after the other, and where each begins."""
    draw = np.random.default_rng(0)
    lengths = np.minimum(2 + draw.poisson(np.linspace(1, 6, VOCABULARY)), 11)
    words = ["".join(map(chr, draw.integers(97, 123, size))) + " " for size in lengths.tolist()]
    data = np.frombuffer("".join(words).encode(), np.uint8)
    return data, np.cumsum([0, *(len(word) for word in words)])


def texts(number: int, count: int) -> pa.Array:
    """The texts of one shard; those whose number ends in 123,456 have the planted sentence."""
    data, starts = vocabulary()
    draw = np.random.default_rng(number + 1)
    words = np.clip(draw.lognormal(5.1, 0.6, count), 20, 4000).astype(np.int64)
    ranks = (np.exp(draw.random(int(words.sum())) * np.log(VOCABULARY)) - 1).astype(np.int64)
    lengths = starts[ranks + 1] - starts[ranks]
    ends = np.cumsum(lengths)
    buffer = data[np.arange(ends[-1]) + np.repeat(starts[ranks] - ends + lengths, lengths)]
    offsets = np.concatenate([[0], ends[np.cumsum(words) - 1]]).astype(np.int64)
    made = pa.LargeStringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(buffer))
    planted = [row for row in range(count) if (number * SHARD_DOCUMENTS + row) % 1_000_000 == 23_456]
    if not planted:
        return made
    rows = made.to_pylist()
    for row in planted:
        rows[row] += PLANTED
    return pa.array(rows, pa.large_string())


def write_shard(folders: dict[str, str], number: int, count: int) -> tuple[str, pa.Table]:
    """One shard's documents and every stage's decisions on it; returns its source and which documents are left."""
    draw = np.random.default_rng([number, 7])
    source = SOURCES[number % 10 >= 7]
    first = number * SHARD_DOCUMENTS
    if source == "web":
        file, row = divmod(first, FILE_RECORDS)
        uri = f"crawl/2026-{file % 50:02d}/records-{file:05d}.jsonl.zst"
        locators = [str(row + at) for at in range(count)]
        uris = [uri] * count
        ids = document_ids(uri, pa.array(locators))
    else:
        names = [f"p{at // 100}/m{at % 100}.py" for at in range(first, first + count)]
        uris, locators = [f"git://host/{name}" for name in names], [""] * count
        ids = pa.array([documents.document_id(uri, "") for uri in uris])
    text = texts(number, count)
    sizes = np.diff(np.frombuffer(text.buffers()[1], np.int64)[: count + 1])
    metadata = pa.array(['{"license": "MIT"}'] * count)
    table = pa.Table.from_arrays(
        [ids, text, pa.array([source] * count), pa.array(["en"] * count), pa.array(uris), pa.array(locators), metadata],
        schema=documents.DOCUMENTS,
    )  # fmt: skip
    name = documents.shard_name(number)
    documents.write_shard(Path(folders["documents"]) / name, table)
    texts_of = ids.to_pylist()
    left = np.arange(count)
    survivor = texts_of[0]
    drops: dict[str, tuple[float, str, Callable[[], str]]] = {
        "filter": (0.1, "gopher_quality.min_words", lambda: '{"value": 12, "threshold": 50}'),
        "dedup": (0.05, "near", lambda: json.dumps({"survivor": survivor, "similarity": 0.9, "threshold": 0.8})),
        "decontaminate": (
            0.0001,
            "contaminated",
            lambda: '{"benchmark": "exam", "example": "q1", "span": "in the middle"}',
        ),
    }  # fmt: skip
    _decisions(folders["ingest"], name, ids, source, left, np.zeros(count, bool), "", "read", sizes, str)
    for stage, (share, rule, evidence) in drops.items():
        dropped = draw.random(left.size) < share
        dropped[0] = False
        _decisions(folders[stage], name, ids, source, left, dropped, rule, "passed", sizes, evidence)
        left = left[~dropped]
    lengths = sizes[left] // 5 + 1
    return source, pa.table({"doc_id": ids.take(pa.array(left)), "length": pa.array(lengths)})


def _decisions(
    folder: str,
    name: str,
    ids: pa.Array,
    source: str,
    rows: np.ndarray,
    dropped: np.ndarray,
    rule: str,
    kept: str,
    sizes: np.ndarray,
    evidence: Callable[[], str],
) -> None:
    said = evidence()
    columns = [
        ids.take(pa.array(rows)),
        pa.array([source] * rows.size),
        pa.array(np.where(dropped, "drop", "keep")),
        pa.array(np.where(dropped, rule, kept)),
        pa.nulls(rows.size, pa.float64()),
        pa.array([said if is_out else "{}" for is_out in dropped]),
        pa.array(sizes[rows]),
        pa.array(np.where(dropped, 0, sizes[rows])),
    ]
    documents.write_shard(Path(folder) / name, pa.Table.from_arrays(columns, schema=documents.DECISIONS))


def build(store: Store, count: int) -> None:
    """Publishes the artifacts and records of a run over ``count`` documents."""
    folders = {
        "documents": store.work("ingest") / "documents",
        **{stage: store.work(stage) / "decisions" for stage in ("ingest", *STAGES)},
        "tokens": store.work("tokenize") / "tokens",
        "benchmarks": store.work("benchmarks") / "benchmarks",
        "model": store.work("pretrain") / "model",
    }
    for folder in folders.values():
        folder.mkdir(parents=True)
    named = {name: str(folder) for name, folder in folders.items()}
    shards = [
        (number, min(SHARD_DOCUMENTS, count - first))
        for number, first in enumerate(range(0, count, SHARD_DOCUMENTS))
    ]
    left: dict[str, list[pa.Table]] = {source: [] for source in SOURCES}
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for source, table in pool.map(
            write_shard, [named] * len(shards), *zip(*shards, strict=True), chunksize=4
        ):
            left[source].append(table)
    entries = {source: _write_spans(folders["tokens"], source, left[source]) for source in SOURCES}
    token_stream.write_index(folders["tokens"], 32_000, entries)
    exam = {"id": "q1", "prompt": "What is in the middle?", "answer": "nothing"}
    (folders["benchmarks"] / "exam.jsonl").write_text(json.dumps(exam) + "\n")
    (folders["model"] / "weights.safetensors").write_bytes(b"left out")
    publish(store, folders, sum(entry["tokens"] for entry in entries.values()))


def _write_spans(folder: Path, source: str, tables: list[pa.Table]) -> dict[str, Any]:
    table = pa.concat_tables(tables)
    lengths = table["length"].to_numpy()
    spans = table.append_column("start", pa.array(np.cumsum(lengths) - lengths)).select(
        token_stream.SPANS.names
    )
    (folder / source).mkdir()
    pq.write_table(
        spans.combine_chunks(), folder / source / token_stream.DOCUMENTS_FILE, compression="zstd",
        compression_level=3, row_group_size=65_536, use_dictionary=False, write_statistics=False, store_schema=False,
    )  # fmt: skip
    return {"tokens": int(lengths.sum()), "documents": spans.num_rows, "shards": []}


def publish(store: Store, folders: dict[str, Path], tokens: int) -> None:
    """Makes the folders artifacts, with the records and the run that an engine would write."""
    weights = [{"web": 0.7, "code": 0.3}, {"web": 0.5, "code": 0.5}, {"web": 0.3, "code": 0.7}]
    phases = [
        {"until_tokens": int(tokens * share), "sequence_length_tokens": length, "weights": weight}
        for share, length, weight in zip((0.8, 1.2, 1.5), (1024, 1024, 2048), weights, strict=True)
    ]
    wiring: list[tuple[str, dict[str, str], dict[str, str], dict[str, Any]]] = [
        ("ingest", {"documents": "documents", "decisions": "ingest"}, {}, {}),
        *((stage, {"decisions": stage}, {"documents": "ingest"}, {}) for stage in STAGES),
        ("benchmarks", {"benchmarks": "benchmarks"}, {}, {}),
        ("tokenize", {"tokens": "tokens"}, {"documents": "ingest"}, {}),
        ("pretrain", {"model": "model"}, {"tokens": "tokenize"}, {"phases": phases, "batch_size": 64}),
    ]
    made: dict[str, str] = {}
    stages = {}
    for position, (stage, outputs, inputs, config) in enumerate(wiring):
        key = f"{position:064x}"
        common: dict[str, Any] = {
            "stage": stage, "component": stage, "key": key, "run": RUN, "config": config, "seed": 0, "code": "c" * 64,
            "inputs": {port: made[f"{maker}.{port}"] for port, maker in inputs.items()}, "metrics": {}, "versions": {},
        }  # fmt: skip
        published = {}
        for port, name in outputs.items():
            digest = store.publish(folders[name], port, {**common, "pipeline": "synthetic", "port": port})
            published[port] = {"digest": digest, "kind": port}
            made[f"{stage}.{port}"] = digest
        store.write_record(
            StageRecord(**common, started=float(position), seconds=1.0, peak_bytes=1, outputs=published, fingerprint=None, modules={})
        )  # fmt: skip
        stages[stage] = {"status": "ran", "key": key}
    state = {"id": RUN, "pipeline": "synthetic", "status": "done", "started": 1.0, "updated": 1.0}
    store.write_run(RUN, "run.json", {**state, "stages": stages})
    shutil.rmtree(store.scratch / "work")


def questions(count: int) -> dict[str, list[str]]:
    """The questions, by name in the table."""
    whole = documents.document_id("git://host/p750/m3.py", "")
    words, starts = vocabulary()
    common = bytes(words[starts[0] : starts[2]]).decode().strip()
    record = "crawl/2026-00/records-00000.jsonl.zst#4321"
    return {
        "step": ["step", "17"],
        "doc, id": ["doc", whole],
        "doc, first digits of the id": ["doc", whole[:12]],
        "doc, record of a file": ["doc", record],
        "doc, end of the uri": ["doc", "p750/m3.py"],
        "text, rare": ["text", PLANTED],
        "text, rare, in other white space": ["text", PLANTED.replace(" ", "  ")],
        "text, common": ["text", common],
        "text, in none": ["text", PLANTED.replace("grain", "barrel")],
    }


def timed(command: list[str], *, check: bool = True) -> tuple[float, float]:
    """Seconds and the peak of memory in MiB of a process, at least that of this one."""
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        said = process.stderr.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if check and process.returncode:
        raise SystemExit(f"{command[3:]} failed: {said[-2000:]}")
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def warm(store: Store, words: list[str]) -> Iterator[float]:
    """Seconds of the same question asked again and again in this process."""
    from millrace.pipelines.trace import documents as trace_documents
    from millrace.pipelines.trace import text, training
    from millrace.pipelines.trace.errors import TraceError
    from millrace.pipelines.trace.runs import open_run

    ask: dict[str, Callable[[Any], Any]] = {
        "step": lambda run: training.step(run, int(words[1])),
        "doc": lambda run: trace_documents.document(run, words[1]),
        "text": lambda run: text.search(run, words[1], 10),
    }
    while True:
        started = time.perf_counter()
        with open_run(store) as run:
            try:
                ask[words[0]](run)
            except TraceError as error:
                if "no document of the run" not in str(error):
                    raise
        yield time.perf_counter() - started


def measure(store: Store, count: int, rounds: int) -> dict[str, Any]:
    """Builds the indexes, then asks."""
    seconds, peak = timed([*COMMAND, "store", "reindex", "--store", store.uri])
    found: dict[str, Any] = {"documents": count, "reindex_seconds": seconds, "reindex_peak_mib": peak}
    found["store_bytes"] = _bytes(store.scratch / "artifacts")
    found["index_bytes"] = _bytes(store.scratch / "index") + (store.scratch / "index.sqlite").stat().st_size
    found["questions"] = {}
    for name, words in questions(count).items():
        command = [*COMMAND, "trace", *words, "--store", store.uri, "--json"]
        first, _ = timed(command, check="in none" not in name)
        cold = [timed(command, check="in none" not in name)[0] for _ in range(rounds)]
        again = warm(store, words)
        next(again)
        found["questions"][name] = {
            "first_process": first,
            "fresh_process": statistics.median(cold),
            "warm": statistics.median(next(again) for _ in range(rounds)),
        }
    return found


def _bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def main() -> None:
    """Builds, measures, prints, and removes the store again unless told to keep it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", type=int, default=10_000_000, help="100,000 at least.")
    parser.add_argument("--store", type=Path, default=Path("/tmp/millrace-trace-store"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", action="store_true", help="Keep the store, and use one that is there.")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    store = Store(str(options.store))
    started = time.perf_counter()
    if not options.store.exists():
        build(store, options.documents)
    found = measure(store, options.documents, options.rounds)
    found["build_seconds"] = time.perf_counter() - started
    if not options.keep:
        shutil.rmtree(options.store)
    if options.json:
        print(json.dumps(found, indent=1))
        return
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    )
    print(f"{found['documents']:,} documents, artifacts {found['store_bytes'] / 1e9:.2f} GB, "
          f"indexes {found['index_bytes'] / 1e9:.2f} GB built in {found['reindex_seconds']:.1f} s, "
          f"at most {found['reindex_peak_mib']:.0f} MiB")  # fmt: skip
    print("| question | first, s | fresh process, s | warm, s |\n|---|---|---|---|")
    for name, item in found["questions"].items():
        print(f"| {name} | {item['first_process']:.2f} | {item['fresh_process']:.2f} | {item['warm']:.3f} |")


if __name__ == "__main__":
    main()
