"""Data stages Parquet to Parquet: megabytes of text a second, memory, growth, and datatrove on the same files.

    python benchmarks/data_stages.py --texts 'FOLDER/*.jsonl.zst' [--stage filter] [--scales 1,4,16]
        [--megabytes 24] [--peer-python VENV/bin/python] [--peer-scale 4] [--cores 2]

Texts are cut into documents of about 3 kB at line ends and shuffled; documents smaller than 2 kB or larger than 5 are
left out, because the cost of a document would hide the cost of its text. Scales above one add copies of the corpus in
which every seventh word or so is another one, so that they are no duplicates. Every figure is of a fresh process: the
stage runs once on one shard, which loads its compiled code, and then on the corpus; time is of the stage alone, memory
of the whole process. CPU time over wall time says how busy the cores were: on a loaded machine compare CPU time.

To add a stage: a function here that takes the corpus folder and returns (component, configuration, inputs), named in
``STAGES``.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from glob import glob
from pathlib import Path
from typing import Any, NamedTuple

SECTION_CHARACTERS = 3000
DOCUMENT_BYTES = (2000, 5000)
SHARD_BYTES = 12_000_000  # as ingestion cuts it
PEER_FILTERS = ("gopher_quality", "gopher_repetition", "c4", "fineweb")

Setup = tuple[str, dict[str, Any], dict[str, Path]]


def filter_all(corpus: Path) -> Setup:
    """Every rule for prose that datatrove also has, in one stage."""
    return filter_by("gopher_quality", "gopher_repetition", "fineweb", "c4")(corpus)


def filter_by(*rules: str) -> Callable[[Path], Setup]:
    """A filter of some rules with their default thresholds."""

    def setup(corpus: Path) -> Setup:
        config = {"rules": {"*": [{"rule": rule} for rule in rules]}, "max_drop_fraction": 1.0}
        return "filter", config, {"documents": corpus}

    return setup


def filter_and_mend(corpus: Path) -> Setup:
    """Every rule that suits prose: repair, language, lists, length, those above, personal data."""
    rules = [
        {"rule": "unicode"},
        {"rule": "language", "allowed": ["en"]},
        {"rule": "length", "min_words": 20},
        {"rule": "url", "domains": ["example.com"], "words": ["casino"]},
        {"rule": "words", "words": ["lorem ipsum"], "max_listed_count": 2},
        *({"rule": rule} for rule in PEER_FILTERS),
        {"rule": "pii"},
    ]
    return "filter", {"rules": {"*": rules}, "max_drop_fraction": 1.0}, {"documents": corpus}


def dedup(corpus: Path) -> Setup:
    """The same text and MinHash of 14 bands of 8 rows over 5-grams, with verification."""
    return "dedup", {"max_drop_fraction": 1.0}, {"documents": corpus}


def dedup_spans(corpus: Path) -> Setup:
    """Repeated spans of three sentences and of 50 words are cut."""
    config = {"methods": [{"method": "sentences"}, {"method": "substrings"}], "max_drop_fraction": 1.0}
    return "dedup_spans", config, {"documents": corpus}


def tokenize(corpus: Path) -> Setup:
    """A unigram vocabulary of 32,000 pieces, learnt from the corpus beforehand, encodes it."""
    tokenizer = corpus.parent / "tokenizer"
    if not tokenizer.exists():
        config = {"vocab_size": 32_000, "sample_bytes": 20_000_000}
        outputs, _ = run_component("train_tokenizer", config, {"documents": corpus}, corpus.parent / "train")
        outputs["tokenizer"].rename(tokenizer)
    return "tokenize", {}, {"documents": corpus, "tokenizer": tokenizer}


def decontaminate(corpus: Path) -> Setup:
    """The benchmarks given with --benchmarks, or 2,000 questions made from the corpus with every seventh word exchanged."""
    folder = corpus.parent / "benchmarks"
    if not folder.exists():
        from millrace.data.documents.shards import read_shards

        table = next(iter(read_shards(corpus, ["text"])))
        passages = (text.split() for text in perturbed(table["text"].to_pylist(), 1))
        rows = [
            {"id": str(number), "prompt": " ".join(words[:32]), "answer": " ".join(words[32:40])}
            for number, words in enumerate(passages)
            if len(words) >= 40
        ]
        write_benchmarks(folder, {"made": rows[:2000]})
    return "decontaminate", {"max_drop_fraction": 1.0}, {"documents": corpus, "benchmarks": folder}


STAGES: dict[str, Callable[[Path], Setup]] = {
    "filter": filter_all,
    "filter:everything": filter_and_mend,
    "dedup": dedup,
    "dedup_spans": dedup_spans,
    "decontaminate": decontaminate,
    "tokenize": tokenize,
    **{f"filter:{rule}": filter_by(rule) for rule in PEER_FILTERS},
}


def read_texts(pattern: str) -> Iterator[str]:
    """The texts of Parquet files or of JSON lines, plain or compressed, with a field ``text``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for path in sorted(glob(pattern)):
        if path.endswith(".parquet"):
            if "text" in pq.read_schema(path).names:
                yield from pq.read_table(path, columns=["text"])["text"].to_pylist()
            continue
        with pa.input_stream(path) as stream:
            for line in stream.read().splitlines():
                row = json.loads(line)
                if isinstance(row.get("text"), str):
                    yield row["text"]


def sections(text: str) -> Iterator[str]:
    """A text in sections of about ``SECTION_CHARACTERS``, cut behind line ends."""
    at = 0
    while at < len(text):
        end = text.find("\n", at + SECTION_CHARACTERS)
        end = len(text) if end < 0 or len(text) - end < SECTION_CHARACTERS // 2 else end + 1
        end = min(end, at + 2 * SECTION_CHARACTERS)
        yield text[at:end]
        at = end


def perturbed(texts: list[str], seed: int) -> Iterator[str]:
    """The texts with about every seventh word exchanged for one of any text."""
    draw = random.Random(seed)
    words = [word for text in draw.sample(texts, min(len(texts), 300)) for word in text.split()]
    for text in texts:
        exchanged = draw.choices(words, k=64)
        step = draw.randrange(64)

        def exchange(match: re.Match[str], exchanged: list[str] = exchanged, step: int = step) -> str:
            return match[1] + exchanged[(match.start() + step) % 64]

        yield re.sub(r"((?:\S+\s+){6})\S+", exchange, text)


def write_corpus(folder: Path, texts: list[str], scale: int) -> int:
    """Writes a ``documents`` folder with ``scale`` copies of the texts; returns its bytes of text."""
    from millrace.data.documents.shards import document_id, documents_table, shard_name, write_shard

    folder.mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    size = total = shards = count = 0
    for copy in range(scale):
        for text in texts if copy == 0 else perturbed(texts, copy):
            uri = f"made://{copy}/{count}"
            row = {"doc_id": document_id(uri, ""), "text": text, "source": "prose", "lang": "en", "uri": uri}
            rows.append(row | {"locator": "", "metadata": "{}"})
            count += 1
            size += len(text.encode())
            if size >= SHARD_BYTES:
                write_shard(folder / shard_name(shards), documents_table(rows))
                total, size, shards, rows = total + size, 0, shards + 1, []
    if rows:
        write_shard(folder / shard_name(shards), documents_table(rows))
    return total + size


def write_benchmarks(folder: Path, sets: dict[str, list[dict[str, Any]]]) -> None:
    """Writes a ``benchmarks`` folder; rows with choices make a benchmark of multiple choice."""
    folder.mkdir(parents=True)
    index = []
    for name, rows in sets.items():
        kind = "multiple_choice" if "choices" in rows[0] else "generation"
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        index.append({"name": name, "type": kind, "examples": len(rows), "file": f"{name}.jsonl"})
    (folder / "index.json").write_text(json.dumps({"benchmarks": index}))


def read_benchmarks(pattern: str) -> dict[str, list[dict[str, Any]]]:
    """Benchmarks from JSON lines with ``question``, ``choices`` (or null) and ``answer``, one a file."""
    import pyarrow as pa

    sets: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(glob(pattern)):
        with pa.input_stream(path) as stream:
            given = [json.loads(line) for line in stream.read().splitlines()]
        sets[Path(path).name.split(".")[0]] = [
            {"id": row["id"], "prompt": row["question"], "answer": row["answer"]}
            | ({"choices": row["choices"]} if row["choices"] else {})
            for row in given
        ]
    return sets


def run_component(
    name: str, config: dict[str, Any], inputs: dict[str, Path], base: Path, cores: int = 2
) -> tuple[dict[str, Path], dict[str, float]]:
    """Runs one component in a new folder; returns its outputs and the seconds that it took."""
    from millrace.components import registry
    from millrace.components.contract import Artifact, Inputs
    from millrace.pipelines.stages.context import StageContext

    component = registry.get(name)
    outputs = {port: base / port for port in component.outputs}
    for folder in (*outputs.values(), base / "work"):
        folder.mkdir(parents=True)
    context = StageContext(
        seed=0,
        work=base / "work",
        outputs=outputs,
        emit=lambda event: None,
        log=logging.getLogger(name),
        cores=cores,
    )
    ports = {
        port: Artifact(path=path, kind=component.inputs[port].kind, digest="0" * 64, stage=port)
        for port, path in inputs.items()
    }
    wall, used = time.perf_counter(), time.process_time()
    registry.run_of(component)(context, component.config.model_validate(config), Inputs(ports))
    return outputs, {"wall_seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - used}


def run_stage(stage: str, corpus: Path, base: Path, cores: int) -> dict[str, float]:
    """Runs a stage on a corpus in this process and measures it."""
    from millrace.data.documents.shards import shard_paths

    name, config, inputs = STAGES[stage](corpus)
    warm = base / "warm-corpus"
    warm.mkdir(parents=True)
    (warm / shard_paths(corpus)[0].name).symlink_to(shard_paths(corpus)[0])
    given = {port: warm if path == corpus else path for port, path in inputs.items()}
    run_component(name, config, given, base / "warm", cores)
    warm_peak = peak_mib()
    _, measured = run_component(name, config, inputs, base / "run", cores)
    return {**measured, "warm_peak_mib": warm_peak, "peak_mib": peak_mib()}


def peak_mib() -> float:
    """The most memory that this program had; ``getrusage`` would count the process that started it as well."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) / 1024  # type: ignore[index]


def in_fresh_process(stage: str, corpus: Path, cores: int) -> dict[str, float]:
    """``run_stage`` in a process of its own, with the environment that the engines give to stages."""
    from millrace.pipelines.stages.environment import stage_environment

    environment = stage_environment(os.environ)
    with tempfile.TemporaryDirectory() as base:
        command = [sys.executable, __file__, "--run", stage, str(corpus), base, "--cores", str(cores)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def line(label: str, size: int, measured: dict[str, float]) -> str:
    """One row of the table."""
    wall, cpu = measured["wall_seconds"], measured["cpu_seconds"]
    memory = f" {measured['peak_mib']:8.0f} MiB" if "peak_mib" in measured else ""
    return (
        f"{label:32} {size / 1e6:8.1f} MB {wall:8.2f} s {size / 1e6 / wall:8.1f} MB/s"
        f" {1000 * cpu / (size / 1e6):8.1f} CPU ms/MB{memory}"
    )


def peer(peer_python: str, *arguments: Any) -> dict[str, float]:
    """Runs datatrove's side in its own interpreter, with a folder for its output as the last but one argument."""
    script = Path(__file__).with_name("datatrove_filters.py")
    with tempfile.TemporaryDirectory() as out:
        command = [peer_python, script, *arguments[:-1], out, str(arguments[-1])]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


class Corpus(NamedTuple):
    """A ``documents`` folder and its bytes of text."""

    path: Path
    size: int


def compare_with_peer(small: Corpus, large: Corpus, stages: list[str], peer_python: str, cores: int) -> None:
    """Runs datatrove and then ours with as many workers: filters one by one, deduplication, n-grams of benchmarks.

    Both get the small corpus. A part of our time is a stage's fixed cost and datatrove's is proportional to the text,
    so that the ratio of the rates compares it with ours on the large one, where it would take an hour.
    """

    def show(stage: str, theirs: dict[str, float]) -> None:
        ours = {corpus: in_fresh_process(stage, corpus.path, cores) for corpus in (small, large)}
        for corpus, measured in ours.items():
            print(line(stage, corpus.size, measured), flush=True)
        for label, seconds in theirs.items():
            same = seconds / ours[small]["wall_seconds"]
            by_rate = seconds / small.size * large.size / ours[large]["wall_seconds"]
            print(
                f"{'  ' + label:32} {small.size / 1e6:8.1f} MB {seconds:8.2f} s {small.size / 1e6 / seconds:8.2f} MB/s"
                f"   ours is {same:.0f} times as fast on the same files, {by_rate:.0f} times by rate",
                flush=True,
            )

    for name in PEER_FILTERS:
        if not {"filter", f"filter:{name}"} & set(stages):
            continue
        show(f"filter:{name}", {"datatrove": peer(peer_python, "time", name, small.path, cores)["seconds"]})
    if "dedup" in stages:
        taken = peer(peer_python, "minhash", small.path, cores)
        labels = {"datatrove, signatures alone": "sign_seconds", "datatrove, all four steps": "seconds"}
        show("dedup", {label: taken[key] for label, key in labels.items()})
    if "decontaminate" in stages:
        decontaminate(small.path)  # makes the benchmarks, where none are given
        folder = small.path.parent / "benchmarks"
        taken = peer(peer_python, "decontaminate", folder, small.path, cores)
        labels = {"datatrove, search alone": "search_seconds", "datatrove, with its index": "seconds"}
        show("decontaminate", {label: taken[key] for label, key in labels.items()})


def compare_with_sentencepiece(corpus: Path, size: int, cores: int) -> None:
    """Encodes the same texts with SentencePiece's threads and with ours, in turn, without reading or writing files."""
    from concurrent.futures import ThreadPoolExecutor

    import sentencepiece

    from millrace.data.documents.shards import read_shards
    from millrace.data.tokenizer.encoder import CorpusEncoder

    folder = corpus.parent / "tokenizer"
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    encoder = CorpusEncoder(folder)
    shards = [table["text"] for table in read_shards(corpus, ["text"])]
    encoder.encode(shards[0].slice(0, 100))  # compiles
    taken = {"SentencePiece": [0.0, 0.0], "ours": [0.0, 0.0]}
    with ThreadPoolExecutor(cores) as pool:
        for first in range(0, len(shards), cores):
            pair = shards[first : first + cores]
            texts = [text for shard in pair for text in shard.to_pylist()]
            for name in taken:
                wall, used = time.perf_counter(), time.process_time()
                if name == "ours":
                    list(pool.map(encoder.encode, pair))
                else:
                    processor.encode(texts, num_threads=cores)
                taken[name][0] += time.perf_counter() - wall
                taken[name][1] += time.process_time() - used
    for name, (wall, used) in taken.items():
        print(
            line(f"  encoding alone: {name}", size, {"wall_seconds": wall, "cpu_seconds": used}), flush=True
        )


def main() -> None:
    """Makes the corpora and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--texts", action="append", help="pattern of files with texts; may be given again")
    parser.add_argument("--stage", action="append", choices=STAGES, help="default: filter")
    parser.add_argument("--scales", default="1,4,16", help="sizes of the corpus, in copies")
    parser.add_argument("--megabytes", type=float, default=24, help="size of one copy")
    parser.add_argument("--benchmarks", help="pattern of files with questions, for decontaminate")
    parser.add_argument("--peer-python", help="an interpreter with datatrove")
    parser.add_argument(
        "--peer-scale", type=int, help="which of the scales datatrove is given; default: the first"
    )
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        stage, corpus, base = arguments.run
        print(json.dumps(run_stage(stage, Path(corpus), Path(base), arguments.cores)))
        return
    if not arguments.texts:
        parser.error("expected --texts")
    scales = [int(scale) for scale in arguments.scales.split(",")]
    if arguments.peer_scale not in (None, *scales):
        parser.error(f"got --peer-scale {arguments.peer_scale}, expected one of --scales {arguments.scales}")
    parts = [part for pattern in arguments.texts for text in read_texts(pattern) for part in sections(text)]
    least, most = DOCUMENT_BYTES
    parts = [part for part in parts if least <= len(part.encode()) <= most]
    random.Random(0).shuffle(parts)

    def first(megabytes: float) -> list[str]:
        taken, size = [], 0
        for part in parts:
            if size >= megabytes * 1e6:
                break
            taken.append(part)
            size += len(part.encode())
        return taken

    with tempfile.TemporaryDirectory() as folder:
        if arguments.benchmarks:
            write_benchmarks(Path(folder, "benchmarks"), read_benchmarks(arguments.benchmarks))
        corpora = {}
        for scale in scales:
            corpus = Path(folder, f"times-{scale}")
            size = write_corpus(corpus, first(arguments.megabytes), scale)
            corpora[scale] = Corpus(corpus, size)
            stages = arguments.stage or ["filter"]
            if "tokenize" in stages and not Path(folder, "tokenizer").exists():
                in_fresh_process("tokenize", corpus, arguments.cores)  # leaves the vocabulary for the others
            for stage in stages:
                measured = in_fresh_process(stage, corpus, arguments.cores)
                print(line(f"{stage} x{scale}", size, measured), flush=True)
            if "tokenize" in stages:
                compare_with_sentencepiece(corpus, size, arguments.cores)
        if arguments.peer_python:
            compare_with_peer(
                corpora[arguments.peer_scale or scales[0]],
                corpora[scales[-1]],
                arguments.stage or ["filter"],
                arguments.peer_python,
                arguments.cores,
            )


if __name__ == "__main__":
    main()
