"""How many planted benchmark examples `decontaminate` finds, by kind of change, and what it finds where none was planted.

    python benchmarks/contamination_recall.py --benchmarks 'FOLDER/*.jsonl.zst' --texts 'FOLDER/*.jsonl.zst'
        [--examples 57] [--ngrams 13,8] [--show 20]

Benchmarks are JSON lines, one benchmark a file: ``question`` (or ``prompt``), ``choices`` (or null) and ``answer`` (an index
or a text); or, for a check on what nothing was tuned on, conversations (``messages``, or ``prompt`` and ``chosen``), whose
first question and answer are taken, or a ``text`` alone. All their examples are looked for; of each benchmark some are planted, each in nine ways, into texts
drawn at random. Texts are cut into documents of about 3 kB and searched as they are as well: what is found there is a
mistake, unless the texts hold the example. ``--ngrams`` does the same with plain overlap of n words in a row, the usual
method, with the same words.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from glob import glob
from pathlib import Path
from typing import Any

from data_stages import read_texts, sections

from millrace.data.contamination import chains, index, planted, words
from millrace.data.text.batch import from_texts

SAMPLE = 4096
SAMPLE_CHARACTERS = 16_000
RULE = chains.Rule(min_coverage=0.33, min_score=20.0)
MAX_DOCUMENT_FREQUENCY = 10

Example = tuple[str, tuple[str, ...], int]


def read_examples(patterns: Sequence[str]) -> list[Example]:
    """The benchmark, the fields and the number of the right answer of every example."""
    import pyarrow as pa

    found = []
    for path in sorted(path for pattern in patterns for path in glob(pattern)):
        name = Path(path).name.split(".")[0]
        with pa.input_stream(path) as stream:
            for line in stream.read().splitlines():
                found.append((name, *fields_of(json.loads(line))))
    return found


def fields_of(row: Mapping[str, Any]) -> tuple[tuple[str, ...], int]:
    """A question with its choices or its answer; a text alone."""
    if "text" in row:
        return (row["text"],), 0
    turns = row.get("messages") or (isinstance(row.get("prompt"), list) and row["prompt"])
    if turns:
        said = {turn["role"]: turn["content"] for turn in reversed(turns)}
        return (said["user"], str(row.get("chosen") or said.get("assistant", ""))), 1
    question = row.get("question") or row["prompt"]
    if row.get("choices"):
        return (question, *map(str, row["choices"])), int(row["answer"]) + 1
    return (question, str(row["answer"])), 1


def plant(examples: Sequence[Example], hosts: Sequence[str], each: int) -> list[tuple[int, str, str]]:
    """Example, kind and document of every copy."""
    by_name: dict[str, list[int]] = defaultdict(list)
    for number, (name, _, _) in enumerate(examples):
        by_name[name].append(number)
    copies = []
    for name in sorted(by_name):
        for number in random.Random(f"choose {name}").sample(by_name[name], min(each, len(by_name[name]))):
            printed = planted.layout(*examples[number][1:], random.Random(f"layout {number}"))
            for kind in planted.KINDS:
                draw = random.Random(f"{kind} {number}")
                text = planted.insert(draw.choice(hosts), planted.changed(printed, kind, draw), draw)
                copies.append((number, kind, text))
    return copies


def ngram_pairs(examples: Sequence[Example], texts: Sequence[str], size: int) -> set[tuple[int, int]]:
    """Text and example that share ``size`` words in a row of the question and its right answer."""
    wanted = words.words(from_texts([f"{fields[0]} {fields[answer]}" for _, fields, answer in examples]))
    owners: dict[bytes, set[int]] = defaultdict(set)
    for number in range(len(examples)):
        own = wanted.hashes[wanted.offsets[number] : wanted.offsets[number + 1]]
        for at in range(len(own) - size + 1):
            owners[own[at : at + size].tobytes()].add(number)
    given = words.words(from_texts(texts))
    pairs = set()
    for row in range(len(texts)):
        own = given.hashes[given.offsets[row] : given.offsets[row + 1]]
        for at in range(len(own) - size + 1):
            pairs |= {(row, number) for number in owners.get(own[at : at + size].tobytes(), ())}
    return pairs


def table(name: str, copies: Sequence[tuple[int, str, str]], pairs: set[tuple[int, int]], clean: str) -> str:
    """One row: the share found of each kind."""
    found, planted_copies = Counter[str](), Counter[str]()
    for row, (number, kind, _) in enumerate(copies):
        planted_copies[kind] += 1
        found[kind] += (row, number) in pairs
    shares = " ".join(f"{100 * found[kind] / planted_copies[kind]:12.1f}" for kind in planted.KINDS)
    return f"{name:12} {shares} {clean}"


def main() -> None:
    """Plants, searches, prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--benchmarks", action="append", required=True, help="pattern of files; again for more"
    )
    parser.add_argument("--texts", action="append", required=True, help="pattern of files; again for more")
    parser.add_argument("--examples", type=int, default=57, help="planted of each benchmark")
    parser.add_argument("--ngrams", help="sizes of plain n-grams to compare with, as 13,8")
    parser.add_argument("--show", type=int, default=0, help="print what was found where nothing was planted")
    arguments = parser.parse_args()
    examples = read_examples(arguments.benchmarks)
    texts = [part for pattern in arguments.texts for text in read_texts(pattern) for part in sections(text)]
    random.Random(0).shuffle(texts)
    sample = [text[:SAMPLE_CHARACTERS] for text in texts[:SAMPLE]]
    began = time.process_time()
    built = index.build(
        index.prepare(index.Examples.of([(fields, answer) for _, fields, answer in examples])),
        from_texts(sample),
        MAX_DOCUMENT_FREQUENCY,
    )
    made = built.index
    batch = from_texts(texts)
    size = batch.data.size / 1e6
    indexed = time.process_time() - began
    print(
        f"{len(examples):,} examples of {len({name for name, _, _ in examples})} benchmarks, {len(texts):,} documents, "
        f"{size:.1f} MB; indexed in {indexed:.2f} s; {built.common_triples:,} triples are common, most: "
        + ", ".join(repr(one.text) for one in built.common[:5])
    )
    chains.match(made, from_texts(texts[:10]), RULE)
    began = time.process_time()
    clean = chains.match(made, batch, RULE)
    used = time.process_time() - began
    flagged = len(set(clean.rows.tolist()))
    print(f"searched in {1000 * used / size:.1f} ms of processor time a MB")
    copies = plant(examples, [text for text in texts if len(text) > 500][:3000], arguments.examples)
    planted_texts = [text for _, _, text in copies]
    found = chains.match(made, from_texts(planted_texts), RULE)
    pairs = set(zip(found.rows.tolist(), found.examples.tolist(), strict=True))
    print(f"{'% found of':12} " + " ".join(f"{kind:>12}" for kind in planted.KINDS) + "  without a plant")
    print(table("chains", copies, pairs, f"{flagged} = {flagged / len(texts):.3%}"))
    for size_words in [int(part) for part in (arguments.ngrams or "").split(",") if part]:
        pairs = ngram_pairs(examples, planted_texts, size_words)
        flagged = len({row for row, _ in ngram_pairs(examples, texts, size_words)})
        print(table(f"{size_words}-grams", copies, pairs, f"{flagged} = {flagged / len(texts):.3%}"))
    for at in range(min(arguments.show, len(clean.rows))):
        span = texts[clean.rows[at]].encode()[clean.starts[at] : clean.ends[at]].decode()
        name, fields, _ = examples[clean.examples[at]]
        print(f"- {name}: {span!r} of {fields[0][:160]!r}")


if __name__ == "__main__":
    main()
