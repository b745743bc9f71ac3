"""Makes chats and preferences from real text, and takes in a user's own.

Documents are visited in the order of a keyed hash of their ids until the caps are reached, so that parsing stays a few
seconds however large the corpus is, and the choice does not depend on shards.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from millrace.components.contract import ComponentError, Context, Inputs
from millrace.data.documents.choosing import is_chosen, keyed
from millrace.data.documents.shards import read_shards
from millrace.data.examples.instruction_sets import Sizes, chat, choose, pairs_of, preferences, split
from millrace.data.examples.user_examples import read_chats, read_preferences
from millrace.data.sources.records import SourceError

from .config import InstructionsConfig

SIDES = ("train", "held_out")


def _candidates(folder: Path, sources: Sequence[str] | None, seed: int, context: Context) -> list[str]:
    """Document ids in the order in which documents are visited."""
    ids: list[str] = []
    present: set[str] = set()
    for table in read_shards(folder, ["doc_id", "source"]):
        for doc_id, source in zip(table["doc_id"].to_pylist(), table["source"].to_pylist(), strict=True):
            present.add(source)
            if sources is None or source in sources:
                ids.append(doc_id)
    if unknown := sorted(set(sources or ()) - present):
        raise ComponentError(
            f"got sources {', '.join(unknown)}, expected those that come in: {', '.join(sorted(present))}"
        )
    context.metric("documents_in", len(ids))
    return sorted(ids, key=lambda doc_id: keyed(seed, "visit", doc_id))


def _rows(folder: Path, wanted: set[str]) -> Iterator[Mapping[str, Any]]:
    """The wanted documents, shard by shard."""
    values = pa.array(sorted(wanted), pa.string())
    for table in read_shards(folder, ["doc_id", "text", "source", "lang"]):
        yield from table.filter(pc.is_in(table["doc_id"], value_set=values)).to_pylist()


def _make(context: Context, config: InstructionsConfig, folder: Path) -> list[Any]:
    """Pairs made from documents, at most ``max_examples``."""
    sizes = Sizes(
        tasks=config.tasks,
        prompt_characters=config.max_prompt_characters,
        answer_characters=config.max_answer_characters,
        per_document=config.max_per_document,
        held_out_fraction=config.held_out_fraction,
    )
    ids = _candidates(folder, config.sources, context.seed, context)
    # A round visits as many documents as would do if each gave what it may; a few rounds are usual.
    round_size = max(64, config.max_examples // config.max_per_document)
    pairs: list[Any] = []
    chosen: list[Any] = []
    for start in range(0, len(ids), round_size):
        if len(chosen) >= config.max_examples:
            break
        for row in _rows(folder, set(ids[start : start + round_size])):
            pairs += pairs_of(row, sizes, context.seed)
        chosen = choose(pairs, context.seed, config.max_examples)
        context.progress(len(chosen), config.max_examples, "pairs")
    context.metric("pairs", len(chosen))
    return chosen


def _read(config: InstructionsConfig, seed: int) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """The user's chats and preferences by side of the split."""
    chats: dict[str, list[Any]] = {side: [] for side in SIDES}
    preferred: dict[str, list[Any]] = {side: [] for side in SIDES}
    for paths, read, rows in (
        (config.chats, read_chats, chats),
        (config.preferences, read_preferences, preferred),
    ):
        for name, path in sorted(paths.items()):
            try:
                found = read(path)
            except SourceError as error:
                raise ComponentError(f"{name}: {error}") from None
            for row in found:
                identity = f"{name}:{row['id']}"
                # By the prompt: two answers to one prompt must not be on both sides.
                prompt = json.dumps(
                    row["messages"][:-1] if "messages" in row else row["prompt"], sort_keys=True
                )
                is_held_out = is_chosen(config.held_out_fraction, seed, "held_out", prompt)
                rows[SIDES[is_held_out]].append(row | {"id": identity, "source": name})
    return chats, preferred


def _write(folder: Path, rows: Mapping[str, Sequence[Any]]) -> None:
    for side in SIDES:
        lines = [json.dumps(row, sort_keys=True, ensure_ascii=False) + "\n" for row in rows[side]]
        (folder / f"{side}.jsonl").write_text("".join(lines), encoding="utf-8")


def run(context: Context, config: InstructionsConfig, inputs: Inputs) -> None:
    """Makes and reads, then writes both sides of the split."""
    chats, preferred = _read(config, context.seed)
    documents = inputs.maybe("documents")
    if documents is not None and (config.max_examples or config.max_preferences):
        pairs = _make(context, config, documents.path)
        for side, mine in zip(SIDES, split(pairs, context.seed), strict=True):
            share = len(mine) / max(len(pairs), 1)
            chats[side] += [chat(pair) for pair in mine]
            preferred[side] += preferences(mine, context.seed)[: round(config.max_preferences * share)]
    for kind, rows, give in (
        (
            "chats",
            chats,
            "a document with described functions or several passages, or chats: {name: file.jsonl}",
        ),
        ("preferences", preferred, "documents as for chats, or preferences: {name: file.jsonl}"),
    ):
        is_wanted = kind == "chats" or config.max_preferences > 0 or bool(config.preferences)
        for side in SIDES:
            context.metric(f"{kind}.{side}", len(rows[side]))
            if is_wanted and not rows[side]:
                raise ComponentError(
                    f"got no {kind} for {side} ({len(rows['train']) + len(rows['held_out'])} in all), expected some on "
                    f"both sides: give more documents or examples ({give})"
                )
        _write(context.output(kind), rows)
    for head in sorted({row["head"] for row in preferred["train"]}):
        context.metric(f"preferences.train.{head}", sum(row["head"] == head for row in preferred["train"]))
