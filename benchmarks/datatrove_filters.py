"""datatrove's side of comparisons, run by an interpreter that has it: decisions on texts, and how long it takes.

    python datatrove_filters.py decide TEXTS.jsonl DECISIONS.jsonl        (one JSON string a line in, one object out)
    python datatrove_filters.py time FILTER FOLDER OUT WORKERS            (Parquet shards in, Parquet out)
    python datatrove_filters.py minhash FOLDER OUT WORKERS                (the same, its four steps of deduplication)
    python datatrove_filters.py decontaminate BENCHMARKS FOLDER OUT WORKERS   (the same, overlap of 12 words, its default)

``decide`` exchanges datatrove's splitters for ours, so that rules are compared and not tokenizers: words are those of
``str.split``, a sentence ends at a mark with closing quotes and brackets before white space. ``time`` leaves it as it
is installed. Written for datatrove 0.10.1; imports nothing of Millrace.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from typing import Any

FILTERS = ("gopher_quality", "gopher_repetition", "c4", "fineweb")
SENTENCE_END = re.compile(r"[.?!][\"')\]]*(?=\s|$)")


class PlainTokenizer:
    """Our words and sentences behind the methods that datatrove calls."""

    def word_tokenize(self, text: str) -> list[str]:
        return text.split()

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        ends = [match.end() for match in SENTENCE_END.finditer(text)]
        if text[ends[-1] if ends else 0 :].strip() or not ends:
            ends.append(len(text))
        return list(zip([0, *ends[:-1]], ends, strict=True))


def make(name: str) -> Any:
    """A filter with its default thresholds."""
    from datatrove.pipeline import filters

    return {
        "gopher_quality": filters.GopherQualityFilter,
        "gopher_repetition": filters.GopherRepetitionFilter,
        "c4": filters.C4QualityFilter,
        "fineweb": filters.FineWebQualityFilter,
    }[name]()


def decide(texts: list[str]) -> list[dict[str, Any]]:
    """Filter -> None for kept or the reason, and the text that C4's rules leave."""
    from datatrove.data import Document
    from datatrove.pipeline.filters.base_filter import get_filter_result
    from datatrove.utils import word_tokenizers

    word_tokenizers.load_word_tokenizer = lambda language: PlainTokenizer()
    made = {name: make(name) for name in FILTERS}
    found = []
    for text in texts:
        own: dict[str, Any] = {}
        for name, rule in made.items():
            document = Document(text=text, id="")
            kept, reason = get_filter_result(rule.filter(document))
            own[name] = None if kept else reason
            if name == "c4" and kept:
                own["text"] = document.text
        found.append(own)
    return found


def seconds(name: str, folder: str, out: str, workers: int) -> float:
    """How long one filter takes, Parquet to Parquet."""
    from datatrove.pipeline.writers import ParquetWriter

    steps = [reader(folder), make(name), ParquetWriter(f"{out}/documents")]
    return run(steps, len(list(Path(folder).glob("*.parquet"))), workers, f"{out}/logs")


def reader(folder: str) -> Any:
    """datatrove's reader of our documents."""
    from datatrove.pipeline.readers import ParquetReader

    return ParquetReader(folder, text_key="text", id_key="doc_id")


def run(steps: list[Any], tasks: int, workers: int, logs: str) -> float:
    """How long a datatrove pipeline takes, in seconds."""
    from datatrove.executor.local import LocalPipelineExecutor

    started = time.perf_counter()
    LocalPipelineExecutor(
        pipeline=steps, tasks=tasks, workers=workers, logging_dir=logs, skip_completed=False
    ).run()
    return time.perf_counter() - started


def minhash_seconds(folder: str, out: str, workers: int) -> dict[str, float]:
    """How long signing alone and all four steps take, with 14 bands of 8 rows over 5-grams."""
    from datatrove.pipeline.dedup import minhash
    from datatrove.pipeline.writers import ParquetWriter

    config = minhash.MinhashConfig(num_buckets=14, hashes_per_bucket=8, n_grams=5)
    shards = len(list(Path(folder).glob("*.parquet")))
    signatures, buckets, removed = (f"{out}/{name}" for name in ("signatures", "buckets", "removed"))
    pipelines = {
        "sign": ([reader(folder), minhash.MinhashDedupSignature(signatures, config)], shards),
        "match": ([minhash.MinhashDedupBuckets(signatures, buckets, config=config)], config.num_buckets),
        "cluster": ([minhash.MinhashDedupCluster(buckets, removed, config)], 1),
        "write": (
            [reader(folder), minhash.MinhashDedupFilter(removed), ParquetWriter(f"{out}/documents")],
            shards,
        ),
    }
    taken = {
        name: run(steps, tasks, workers, f"{out}/logs/{name}") for name, (steps, tasks) in pipelines.items()
    }
    return {"sign_seconds": taken["sign"], "seconds": sum(taken.values())}


def decontaminate_seconds(benchmarks: str, folder: str, out: str, workers: int) -> dict[str, float]:
    """How long searching alone and indexing and searching take, and the documents that are left.

    The hashes are those of its indexer, whose ``run`` wants lighteval and downloads tasks. Questions by themselves are
    sought as well: most answers are shorter than an n-gram.
    """
    import numpy as np
    import pyarrow.parquet as pq
    from datatrove.pipeline.decont import NGramsDecontConfig, NGramsDecontFilter, NGramsDecontIndexer
    from datatrove.pipeline.writers import ParquetWriter

    started = time.perf_counter()
    config = NGramsDecontConfig(find_query_ngrams=True)
    NGramsDecontIndexer._requires_dependencies = []
    indexer = NGramsDecontIndexer(f"{out}/index", config=config)
    Path(out, "index").mkdir(parents=True)
    for entry in json.loads(Path(benchmarks, "index.json").read_text("utf-8"))["benchmarks"]:
        hashes: set[int] = set()
        for line in Path(benchmarks, entry["file"]).read_text("utf-8").splitlines():
            row = json.loads(line)
            answer = row["choices"][row["answer"]] if "choices" in row else row["answer"]
            hashes.update(indexer.compute_hashes(str(answer), row["prompt"]))
        array = np.array(sorted(hashes), config.hash_config.np_descr)
        array.tofile(Path(out, "index", f"{entry['name']}.index.hashes"))
    indexed = time.perf_counter() - started
    steps = [reader(folder), NGramsDecontFilter(f"{out}/index", config), ParquetWriter(f"{out}/documents")]
    searched = run(steps, len(list(Path(folder).glob("*.parquet"))), workers, f"{out}/logs")
    kept = sum(pq.read_metadata(path).num_rows for path in Path(out, "documents").glob("*.parquet"))
    return {"search_seconds": searched, "seconds": indexed + searched, "kept": kept}


def main() -> None:
    """Does what the arguments say."""
    if sys.argv[1] == "decide":
        texts = [json.loads(line) for line in Path(sys.argv[2]).read_text("utf-8").splitlines()]
        lines = (json.dumps(own) for own in decide(texts))
        Path(sys.argv[3]).write_text("".join(f"{line}\n" for line in lines))
    elif sys.argv[1] == "time":
        name, folder, out, workers = sys.argv[2:]
        print(json.dumps({"seconds": seconds(name, folder, out, int(workers))}))
    elif sys.argv[1] == "minhash":
        folder, out, workers = sys.argv[2:]
        print(json.dumps(minhash_seconds(folder, out, int(workers))))
    elif sys.argv[1] == "decontaminate":
        benchmarks, folder, out, workers = sys.argv[2:]
        print(json.dumps(decontaminate_seconds(benchmarks, folder, out, int(workers))))
    else:
        raise SystemExit(f"got {sys.argv[1]!r}, expected decide, time, minhash or decontaminate")


if __name__ == "__main__":
    main()
