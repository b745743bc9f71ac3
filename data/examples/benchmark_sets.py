"""Evaluation sets made from held-out documents: questions whose answers somebody already wrote.

Held-out documents never reach training, so the questions are new to the model unless a copy of a document (a vendored
module) slipped into the corpus, and decontamination finds such copies. Four kinds:

- ``docstrings``: which of four docstrings belongs to this function. The prompt is the function, then its signature
  again up to the docstring's opening quotes, so that the choices continue it as Python would.
- ``returns``: complete a function's last line; the answer is a name that the function mentions, so it can be worked
  out and checked exactly.
- ``continuations``: which of four passages continues this prose.
- ``held_out_SOURCE``: texts for bits per byte.

Distractors have about the right answer's length and are right answers to other questions, of functions with another
name or of another document, so that neither length nor style gives the answer away. Every choice is by keyed hash of ids: more documents never reshuffle the rest.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from millrace.data.documents.choosing import keyed

from .functions import functions, is_descriptive
from .passages import passages, without_boilerplate

CHOICES = 4
WINDOW = 24
"""Neighbours by length, on each side, that distractors are chosen from."""

Example = dict[str, Any]


@dataclass(frozen=True)
class Limits:
    """How large the sets may be.

    Attributes:
        docstrings: Examples of ``docstrings``.
        returns: Examples of ``returns``.
        continuations: Examples of ``continuations``.
        texts: Texts per source.
        prompt_characters: Functions whose prompt is longer are passed over; passages keep their end.
        text_bytes: Longer held-out texts are cut.
    """

    docstrings: int = 400
    returns: int = 200
    continuations: int = 200
    texts: int = 64
    prompt_characters: int = 600
    text_bytes: int = 4096


@dataclass(frozen=True)
class Candidate:
    """A question before its distractors are chosen.

    Attributes:
        id: Document id and place in the document.
        prompt: The question.
        answer: The right answer.
        group: Answers of the same group could be right as well: the function's name, the document.
        kind: Distractors are of the same kind: source and language, which would give the answer away.
        doc_id: The document.
        uri: Its address.
    """

    id: str
    prompt: str
    answer: str
    group: str
    kind: str
    doc_id: str
    uri: str


@dataclass(frozen=True)
class BenchmarkSet:
    """One benchmark: its name, type (``multiple_choice``, ``generation``, ``text``) and examples."""

    name: str
    type: str
    examples: Sequence[Example]


def is_python(row: Mapping[str, Any]) -> bool:
    """Whether a document is Python source."""
    return bool(row["lang"] == "python")


def build(rows: Iterable[Mapping[str, Any]], limits: Limits, seed: int) -> list[BenchmarkSet]:
    """Builds every set that the documents have material for.

    Args:
        rows: Held-out documents, with the columns of ``data.documents.shards.DOCUMENTS``.
        limits: Sizes; 0 leaves a set out.
        seed: Chooses examples, distractors and the places of the answers.

    Returns:
        The sets that are not empty, in a fixed order.
    """
    described: list[Candidate] = []
    returned: list[Candidate] = []
    continued: list[Candidate] = []
    texts: dict[str, list[Example]] = {}
    for row in rows:
        doc_id, uri, kind = row["doc_id"], row["uri"], f"{row['source']}/{row['lang']}"
        if is_python(row):
            for function in functions(row["text"]):
                place = f"{doc_id}:{function.line}"
                prompt = f'{function.source}\n\n\n{function.signature}\n    """'
                if is_descriptive(function.summary) and len(prompt) <= limits.prompt_characters:
                    described.append(
                        Candidate(place, prompt, function.summary, function.name, kind, doc_id, uri)
                    )
                if (split := last_return(function.source)) and len(split[0]) <= limits.prompt_characters:
                    returned.append(Candidate(place, *split, function.name, kind, doc_id, uri))
        else:
            for passage in passages(
                row["text"],
                max_before_characters=limits.prompt_characters,
                max_after_characters=limits.prompt_characters // 3,
            ):
                place = f"{doc_id}:{passage.place}"
                continued.append(
                    Candidate(place, f"{passage.before}\n\n", passage.after, doc_id, kind, doc_id, uri)
                )
        own = without_header(row["text"]) if is_python(row) else without_boilerplate(row["text"])
        text = cut(own, limits.text_bytes)
        if text.strip():
            example = {"id": doc_id, "text": text, "source": row["source"], "doc_id": doc_id, "uri": uri}
            texts.setdefault(row["source"], []).append(example)
    sets = [
        BenchmarkSet("docstrings", "multiple_choice", multiple_choice(described, limits.docstrings, seed)),
        BenchmarkSet("returns", "generation", _generation(returned, limits.returns, seed)),
        BenchmarkSet(
            "continuations", "multiple_choice", multiple_choice(continued, limits.continuations, seed)
        ),
    ]
    for source in sorted(texts):
        chosen = sorted(texts[source], key=lambda row: keyed(seed, "text", row["id"]))[: limits.texts]
        sets.append(BenchmarkSet(f"held_out_{source}", "text", sorted(chosen, key=lambda row: row["id"])))
    return [one for one in sets if one.examples]


def multiple_choice(candidates: Sequence[Candidate], limit: int, seed: int) -> list[Example]:
    """Questions with ``CHOICES`` choices each, at most ``limit``.

    Args:
        candidates: Prompts with their right answers; those with an answer or prompt seen before are passed over.
        limit: Most questions.
        seed: Chooses the questions, the distractors and the place of the right answer.

    Returns:
        Rows of a ``multiple_choice`` benchmark, sorted by id; none when there are too few different answers.
    """
    unique: dict[str, Candidate] = {}
    prompts: set[str] = set()
    for candidate in sorted(candidates, key=lambda one: keyed(seed, "unique", one.id)):
        if candidate.answer.lower() not in unique and candidate.prompt not in prompts:
            unique[candidate.answer.lower()] = candidate
            prompts.add(candidate.prompt)
    by_length = sorted(
        unique.values(), key=lambda one: (one.kind, len(one.answer), keyed(seed, "length", one.id))
    )
    examples: list[Example] = []
    for index, right in enumerate(by_length):
        near = by_length[max(0, index - WINDOW) : index + WINDOW + 1]
        others = sorted(
            (one for one in near if one.group != right.group and one.kind == right.kind),
            key=lambda one: keyed(seed, "distractor", right.id, one.id),
        )[: CHOICES - 1]
        if len(others) < CHOICES - 1:
            continue
        answer = keyed(seed, "place", right.id) % CHOICES
        choices = [one.answer for one in others]
        choices.insert(answer, right.answer)
        examples.append(
            {"id": right.id, "prompt": right.prompt, "choices": choices, "answer": answer}
            | {"doc_id": right.doc_id, "uri": right.uri}
        )
    chosen = sorted(examples, key=lambda row: keyed(seed, "question", row["id"]))[:limit]
    return sorted(chosen, key=lambda row: row["id"])


def _generation(candidates: Sequence[Candidate], limit: int, seed: int) -> list[Example]:
    unique = {one.prompt: one for one in sorted(candidates, key=lambda one: keyed(seed, "unique", one.id))}
    chosen = sorted(unique.values(), key=lambda one: keyed(seed, "question", one.id))[:limit]
    return [
        {"id": one.id, "prompt": one.prompt, "answer": one.answer, "doc_id": one.doc_id, "uri": one.uri}
        for one in sorted(chosen, key=lambda one: one.id)
    ]


def last_return(source: str) -> tuple[str, str] | None:
    """Splits a function before the value that its last line returns, if that value is a name used earlier in the
    function.

    Args:
        source: The function, signature first.

    Returns:
        The prompt, which ends in ``return``, and the name or dotted name that follows; None for other functions.
    """
    lines = source.rstrip().split("\n")
    match = re.fullmatch(r"(\s+return) ([A-Za-z_][\w.]*)", lines[-1])
    if match is None or len(lines) < 3:
        return None
    prompt, answer = "\n".join((*lines[:-1], match[1])), match[2]
    if answer in ("None", "True", "False") or not re.search(rf"(?<![\w.]){re.escape(answer)}\b", prompt):
        return None
    return prompt, answer


def without_header(text: str) -> str:
    """Python source without what stands above its code: comments (the licence) and the module's docstring.

    Hundreds of files share a licence header word for word: measured as held-out text it flatters the model, and as
    n-grams it would make every one of those files a contaminated one.
    """
    lines = text.split("\n")
    start = 0
    while start < len(lines) and (not lines[start].strip() or lines[start].startswith("#")):
        start += 1
    if start < len(lines) and lines[start].startswith(('"""', "'''", 'r"""')):
        try:
            first = ast.parse(text).body[0]
            start = first.end_lineno or start
        except (SyntaxError, ValueError, IndexError, RecursionError, MemoryError):
            pass
    return "\n".join(lines[start:]).lstrip("\n")


def cut(text: str, max_bytes: int) -> str:
    """The start of a text, in whole lines where it has any, else in whole characters."""
    encoded = text.encode()
    if len(encoded) <= max_bytes:
        return text
    head = encoded[:max_bytes].decode(errors="ignore")
    return head[: end + 1] if (end := head.rfind("\n")) > 0 else head
