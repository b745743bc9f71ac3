"""Builds evaluation sets from held-out documents and takes in a user's own questions.

Every set goes into one artifact: training is decontaminated against all of them, and each score is shown beside its
set's contamination. Names, types and files are listed in ``index.json``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from millrace.components.contract import ComponentError, Context, Inputs
from millrace.data.documents.shards import read_shards
from millrace.data.examples.benchmark_sets import BenchmarkSet, Limits, build
from millrace.data.examples.user_examples import read_questions
from millrace.data.sources.records import SourceError

from .config import BenchmarksConfig


def _rows(folder: Path | None) -> Iterator[Mapping[str, Any]]:
    for table in read_shards(folder) if folder is not None else ():
        for batch in table.to_batches(max_chunksize=256):
            yield from batch.to_pylist()


def run(context: Context, config: BenchmarksConfig, inputs: Inputs) -> None:
    """Builds the sets."""
    held_out = inputs.maybe("held_out")
    limits = Limits(
        docstrings=config.max_docstrings,
        returns=config.max_returns,
        continuations=config.max_continuations,
        texts=config.max_texts,
        prompt_characters=config.max_prompt_characters,
        text_bytes=config.max_text_bytes,
    )
    sets = build(_rows(held_out.path if held_out else None), limits, context.seed)
    for name, pattern in sorted(config.files.items()):
        if name in {one.name for one in sets}:
            raise ComponentError(
                f"got benchmark {name!r} in files, which is also made from held-out documents: rename it"
            )
        try:
            examples = read_questions(pattern)
        except SourceError as error:
            raise ComponentError(f"benchmark {name}: {error}") from None
        sets.append(
            BenchmarkSet(name, "multiple_choice" if "choices" in examples[0] else "generation", examples)
        )
    if not sets:
        raise ComponentError(
            "got no held-out documents to build benchmarks from and no files, expected either: name held_out "
            "distributions or raise held_out_fraction in a source, or give files: {name: questions.jsonl}"
        )
    folder = context.output("benchmarks")
    index = []
    for one in sets:
        lines = [json.dumps(example, sort_keys=True, ensure_ascii=False) for example in one.examples]
        (folder / f"{one.name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        index.append(
            {"name": one.name, "type": one.type, "examples": len(lines), "file": f"{one.name}.jsonl"}
        )
        context.metric(f"examples.{one.name}", len(lines))
    text = json.dumps({"benchmarks": index}, sort_keys=True, indent=2)
    (folder / "index.json").write_text(text + "\n", encoding="utf-8")
    context.metric("examples", sum(len(one.examples) for one in sets))
