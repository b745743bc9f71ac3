"""Supervised pairs and preferences out of real text: people already wrote the questions' answers.

A function and its docstring are a request and its answer; a passage and what follows it are another. Three tasks:

- ``docstring``: document this function. Answer: the first paragraph of its docstring.
- ``signature``: write the first line of the function that does this. Answer: its signature.
- ``continuation``: continue this text. Answer: the true continuation.

Preferences take the same prompts. The chosen answer is the true one; the rejected one is another document's answer of
about the same length (head ``relevance``) or the true one broken off in the middle (head ``completeness``): two
different faults, so that two heads have something different to learn.

All choices are by keyed hash of document ids, and a document's examples all fall on one side of the split: a copied
half would leak.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

from millrace.data.documents.choosing import is_chosen, keyed

from .answer_rules import AnswerRules
from .functions import Function, functions, is_descriptive
from .passages import passages

Task = Literal["docstring", "signature", "continuation"]
Row = dict[str, Any]

PROMPTS: dict[Task, str] = {
    "docstring": "Write the docstring of this function.\n\n{}",
    "signature": "Write the signature of a function for this purpose: {}",
    "continuation": "Continue this text.\n\n{}",
}
HEADS = ("relevance", "completeness")
WINDOW = 24
"""Neighbours by length, on each side, that a rejected answer is chosen from."""
TRUNCATED_SHARE = (0.3, 0.7)
"""Where a broken-off answer ends, as a share of its words."""
PARSE_BYTES = 100_000
"""Larger modules are tables or generated; parsing them costs most of the time and gives few functions."""


@dataclass(frozen=True)
class Pair:
    """A prompt and its true answer.

    Attributes:
        id: Document id, task and place in the document.
        task: Name of the task.
        prompt: The user's message.
        answer: The assistant's message.
        source: The document's source.
        lang: The document's language.
        doc_id: The document.
        is_held_out: Whether the pair is held out of training.
    """

    id: str
    task: Task
    prompt: str
    answer: str
    source: str
    lang: str
    doc_id: str
    is_held_out: bool

    @property
    def kind(self) -> tuple[str, str, str]:
        """Rejected answers are of the same task, source and language, or telling them apart would teach nothing."""
        return self.task, self.source, self.lang


@dataclass(frozen=True)
class Sizes:
    """The limits on a pair.

    Attributes:
        tasks: Names of the tasks to make; None takes ``docstring`` of Python and ``continuation`` of everything else.
        prompt_characters: Longer functions are passed over, passages keep their end.
        answer_characters: Longer docstrings and signatures are passed over, passages keep their start.
        per_document: Most pairs of one document and task.
        held_out_fraction: Share of documents whose pairs are held out.
    """

    tasks: tuple[Task, ...] | None = None
    prompt_characters: int = 500
    answer_characters: int = 200
    per_document: int = 8
    held_out_fraction: float = 0.1


def pairs_of(row: Mapping[str, Any], sizes: Sizes, seed: int) -> list[Pair]:
    """The pairs of one document, at most ``sizes.per_document`` a task.

    Args:
        row: A document, with the columns of ``data.documents.shards.DOCUMENTS``.
        sizes: Limits on pairs.
        seed: Chooses among a document's pairs, and its side of the split.
    """
    is_python = row["lang"] == "python"
    tasks = sizes.tasks or (("docstring",) if is_python else ("continuation",))
    found: dict[Task, list[tuple[str, str, str]]] = {task: [] for task in tasks}
    if is_python and len(row["text"]) <= PARSE_BYTES and {"docstring", "signature"} & set(tasks):
        for function in functions(row["text"]):
            for task in ("docstring", "signature"):
                if task in found and (pair := _of_function(function, task)):
                    found[task].append((str(function.line), *pair))
    if not is_python and "continuation" in tasks:
        for passage in passages(
            row["text"],
            max_before_characters=sizes.prompt_characters - len(PROMPTS["continuation"]),
            max_after_characters=sizes.answer_characters,
        ):
            found["continuation"].append((str(passage.place), passage.before, passage.after))
    is_held_out = is_chosen(sizes.held_out_fraction, seed, "held_out", row["doc_id"])
    result: list[Pair] = []
    for task, contents in found.items():
        pairs = [
            Pair(
                f"{row['doc_id']}:{task}:{place}",
                task,
                PROMPTS[task].format(question),
                answer,
                row["source"],
                row["lang"],
                row["doc_id"],
                is_held_out,
            )
            for place, question, answer in contents
        ]
        fitting = [
            one
            for one in pairs
            if len(one.prompt) <= sizes.prompt_characters and len(one.answer) <= sizes.answer_characters
        ]
        fitting.sort(key=lambda one: keyed(seed, "pair", one.id))
        # Answers are held to the rules that generated ones will be; checked lazily, for it means parsing them.
        result += islice((one for one in fitting if _keeps_rules(one)), sizes.per_document)
    return result


def _keeps_rules(pair: Pair) -> bool:
    rules = AnswerRules(form="docstring" if pair.task == "docstring" else "text")
    return all(rules.check(pair.answer, ended=True).values())


def _of_function(function: Function, task: Task) -> tuple[str, str] | None:
    """Question and answer, or None when the docstring says too little."""
    if not is_descriptive(function.summary):
        return None
    if task == "docstring":
        return function.source, function.summary
    return function.summary, " ".join(function.signature.split())


def choose(pairs: Iterable[Pair], seed: int, limit: int) -> list[Pair]:
    """At most ``limit`` pairs, no prompt or answer twice, in the order of a keyed hash of their ids."""
    prompts: set[str] = set()
    answers: set[tuple[Task, str]] = set()
    chosen: list[Pair] = []
    for pair in sorted(pairs, key=lambda one: keyed(seed, "choose", one.id)):
        if len(chosen) == limit:
            break
        if pair.prompt in prompts or (pair.task, pair.answer.lower()) in answers:
            continue
        prompts.add(pair.prompt)
        answers.add((pair.task, pair.answer.lower()))
        chosen.append(pair)
    return chosen


def split(pairs: Sequence[Pair], seed: int) -> tuple[list[Pair], list[Pair]]:
    """The training and the held-out pairs; neither is empty when there are two pairs.

    A corpus of a few documents may have none on one side by its hashes; then the document with the lowest hash is held
    out, and of a single document one pair.
    """
    train = [pair for pair in pairs if not pair.is_held_out]
    held_out = [pair for pair in pairs if pair.is_held_out]
    if (train and held_out) or len(pairs) < 2:
        return train, held_out
    groups = {pair.doc_id for pair in pairs}
    names = [pair.doc_id if len(groups) > 1 else pair.id for pair in pairs]
    first = min(names, key=lambda name: keyed(seed, "held_out", name))
    sides = list(zip(pairs, names, strict=True))
    return [pair for pair, name in sides if name != first], [pair for pair, name in sides if name == first]


def chat(pair: Pair) -> Row:
    """The pair as a row of a ``chats`` artifact."""
    messages = [{"role": "user", "content": pair.prompt}, {"role": "assistant", "content": pair.answer}]
    return {
        "id": pair.id,
        "messages": messages,
        "source": pair.source,
        "doc_id": pair.doc_id,
        "task": pair.task,
    }


def preferences(pairs: Sequence[Pair], seed: int) -> list[Row]:
    """Two preferences of every pair that allows them, one for each head.

    Args:
        pairs: Pairs of one side of the split; rejected answers come from the same side.
        seed: Chooses the rejected answers and where answers break off.

    Returns:
        Rows of a ``preferences`` artifact, in the order of the pairs.
    """
    by_length = sorted(pairs, key=lambda one: (one.kind, len(one.answer), keyed(seed, "length", one.id)))
    place = {pair.id: index for index, pair in enumerate(by_length)}
    rows = []
    for pair in pairs:
        at = place[pair.id]
        near = [
            one
            for one in by_length[max(0, at - WINDOW) : at + WINDOW + 1]
            if one.kind == pair.kind
            and one.doc_id != pair.doc_id
            and one.answer.lower() != pair.answer.lower()
        ]
        rejected: dict[str, str | None] = {"completeness": truncated(pair.answer, seed, pair.id)}
        if near:
            rejected["relevance"] = min(near, key=lambda one: keyed(seed, "rejected", pair.id, one.id)).answer
        for head in HEADS:
            if text := rejected.get(head):
                row = {
                    "id": f"{pair.id}:{head}",
                    "prompt": pair.prompt,
                    "chosen": pair.answer,
                    "rejected": text,
                }
                rows.append(row | {"head": head, "source": pair.source, "doc_id": pair.doc_id})
    return rows


def truncated(answer: str, seed: int, identity: str) -> str | None:
    """The answer broken off between two words in its middle; None when it is too short to lose anything."""
    words = answer.split(" ")
    low, high = (round(len(words) * share) for share in TRUNCATED_SHARE)
    if low < 1 or high <= low or high >= len(words):
        return None
    return " ".join(words[: low + keyed(seed, "truncate", identity) % (high - low + 1)])
