"""The index of benchmark examples: their triples, and the worth of each of their words.

A word is worth the bits of its rarity: ``log2(texts / (1 + others with it))`` over a sample of the corpus and the
examples themselves, at most ``MAX_BITS``; when an example repeats a word, half as much each time. Common triples are no
evidence: those in more of the sample's texts than a limit (boilerplate, phrases), or in more than ``MAX_EXAMPLES``
examples (the wording of a template, "which of the following"), are not searched for, and words that no other triple
covers are worth nothing.

References:
    Spärck Jones 1972, "A statistical interpretation of term specificity and its application in retrieval": rarity as
    the weight of a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from millrace.data.text.batch import TextBatch, from_texts
from millrace.data.text.kernels import kernel

from . import ordering, screen, triples, words
from .triples import Lookup, Postings
from .words import Integers, Words

MAX_BITS = 12.0
REPEATED = 0.5  # the worth of a word that an example repeats
CHARACTER_SHARE = 0.5  # the worth of a character in scripts without spaces: about two make a word
MAX_EXAMPLES = 32
MAX_REPEATS = 4  # places of a triple in one example: a table of zeros would have thousands
LISTED = 20  # common triples that are given in words

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Examples:
    """The examples that may not be in training.

    Attributes:
        texts: All fields of all examples, one example after the other; of each the question first.
        first_field: First field of each example and the end of the last, int64 [examples + 1].
        answers: The field of each example that is the right answer, -1 where there is none, int64 [examples].
    """

    texts: Sequence[str]
    first_field: Integers
    answers: Integers

    @classmethod
    def of(cls, rows: Sequence[tuple[Sequence[str], int]]) -> Examples:
        """From the fields of each example, the question first, and which of them is the right answer (0: none)."""
        first = np.cumsum([0, *(len(fields) for fields, _ in rows)])
        right = np.array([answer for _, answer in rows], np.int64)
        answers = np.where(right > 0, first[:-1] + right, -1)
        return cls([text for fields, _ in rows for text in fields], first, answers)

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.answers)


@dataclass(frozen=True)
class Index:
    """Examples as the look-up and the chaining see them; slots are the words of all examples, one after the other.

    Attributes:
        bitmap: See ``triples.Lookup``.
        buckets: See ``triples.Lookup``.
        entries: See ``triples.Lookup``; every kind of triple that is not common stands for its place in ``runs``.
        runs: See ``screen.Runs``.
        slots: See ``screen.Runs``.
        first_slot: First slot of each example and the end of the last, int64 [examples + 1].
        bits: Worth of each slot in bits, float32 [slots].
        question_slots: Words of each example's question, int32 [examples].
        answer_slots: First and end slot of each example's right answer within the example, int32 [examples, 2].
        total_bits: Worth of all words of an example, of its question and of its right answer, float32 [examples, 3].
    """

    bitmap: npt.NDArray[np.uint64]
    buckets: npt.NDArray[np.int32]
    entries: npt.NDArray[np.uint32]
    runs: npt.NDArray[np.int32]
    slots: npt.NDArray[np.int16]
    first_slot: Integers
    bits: Floats
    question_slots: npt.NDArray[np.int32]
    answer_slots: npt.NDArray[np.int32]
    total_bits: Floats

    @property
    def lookup(self) -> Lookup:
        """The tables that find a triple."""
        return Lookup(self.bitmap, self.buckets, self.entries)

    def save(self, folder: Path) -> None:
        """Writes the index for the workers, a file per array: an archive of them takes three times as long."""
        folder.mkdir()
        for field in fields(self):
            np.save(folder / f"{field.name}.npy", getattr(self, field.name))

    @classmethod
    def load(cls, folder: Path) -> Index:
        """Reads what ``save`` wrote."""
        return cls(**{field.name: np.load(folder / f"{field.name}.npy") for field in fields(cls)})


@dataclass(frozen=True)
class Common:
    """A triple that is not looked for because it is common.

    Attributes:
        text: Its words, as an example has them.
        documents: Number of texts of the sample that have it.
        examples: Number of examples that have it.
    """

    text: str
    documents: int
    examples: int


@dataclass(frozen=True)
class Built:
    """The result of indexing.

    Attributes:
        index: The index that documents are searched with.
        common: The most common triples that it leaves out.
        common_triples: How many it leaves out.
        whole_bits: Worth of all words of each example if none of its triples were common, float32 [examples].
    """

    index: Index
    common: list[Common]
    common_triples: int
    whole_bits: Floats


class Prepared(NamedTuple):
    """The part of indexing, most of it, that needs no sample.

    Attributes:
        examples: The examples.
        found: The words of all their fields.
        posted: Their triples.
        firsts: First posting of each kind of triple and the end of the last, int64 [kinds + 1].
        having: Examples that have each kind, int64 [kinds].
        numbered: Their words as numbers.
        sought: The tables that find the kinds of triples.
    """

    examples: Examples
    found: Words
    posted: Postings
    firsts: Integers
    having: Integers
    numbered: ordering.Numbered
    sought: Lookup


def prepare(examples: Examples) -> Prepared:
    """Splits, posts and sorts examples."""
    found = words.words(from_texts(examples.texts))
    posted = triples.postings(found, examples.first_field, examples.answers)
    firsts, having = _kinds(posted.hashes, posted.examples)
    numbered = ordering.number(found.hashes, found.offsets[examples.first_field])
    return Prepared(
        examples, found, posted, firsts, having, numbered, triples.lookup(posted.hashes[firsts[:-1]])
    )


def build(prepared: Prepared, sample: TextBatch, max_document_frequency: int) -> Built:
    """Indexes examples; what was prepared is used up.

    Args:
        prepared: The examples.
        sample: Texts of the corpus, which say what is common and what is rare.
        max_document_frequency: A triple in more texts of the sample is common.
    """
    examples, found, posted, firsts, having, numbered, sought = prepared
    first_slot = found.offsets[examples.first_field]
    order = ordering.sort(numbered.hashes)
    word_documents = np.empty(order.size, np.int64)
    word_documents[order], documents = triples.document_frequency(
        words.hashes(sample), triples.lookup(numbered.hashes[order]), sought
    )
    is_common = (documents > max_document_frequency) | (having > MAX_EXAMPLES)
    having_word = word_documents + numbered.examples - 1  # not counting the example itself
    rarity = np.log2((len(sample) + len(examples) + 1) / (having_word + 1)).clip(0.0, MAX_BITS)
    rarity[numbered.hashes & np.uint64(1) == 1] *= CHARACTER_SHARE
    rarity = rarity[numbered.numbers].astype(np.float32)
    bits: Floats = rarity * np.power(np.float32(REPEATED), np.minimum(numbered.repeats, 60), dtype=np.float32)
    whole = np.add.reduceat(np.append(bits, 0), first_slot[:-1]) * (np.diff(first_slot) > 0)
    packed = screen.runs(posted, firsts, ~is_common, MAX_REPEATS, first_slot, bits)
    # Looked for are the others alone: of what a common text shares with examples a third is common triples.
    lookup = triples.lookup(posted.hashes[firsts[:-1][~is_common]])
    lookup.entries[:, 1] = packed.firsts
    question = found.offsets[examples.first_field[:-1] + 1] - first_slot[:-1]
    question = np.minimum(question, np.diff(first_slot))
    has_answer = examples.answers >= 0
    answer = np.zeros((len(examples), 2), np.int64)
    for side in (0, 1):
        ends = found.offsets[examples.answers[has_answer] + side] - first_slot[:-1][has_answer]
        answer[has_answer, side] = np.minimum(ends, np.diff(first_slot)[has_answer])
    running = np.concatenate([[0.0], np.cumsum(bits, dtype=np.float64)])
    start = first_slot[:-1]
    total = [
        running[first_slot[1:]] - running[start],
        running[start + question] - running[start],
        running[start + answer[:, 1]] - running[start + answer[:, 0]],
    ]
    index = Index(
        *lookup,
        packed.runs,
        packed.slots,
        first_slot,
        bits,
        question.astype(np.int32),
        answer.astype(np.int32),
        np.stack(total, axis=1).astype(np.float32).reshape(-1, 3),
    )
    listed = _listed(examples, found, posted, firsts, documents, having, is_common)
    return Built(index, listed, int(is_common.sum()), whole)


@kernel
def _kinds(hashes: Any, examples: Any) -> Any:
    """Of ascending hashes the first of each kind and the end of the last, and how many examples each has."""
    firsts = np.empty(hashes.size + 1, np.int64)
    having = np.empty(hashes.size, np.int64)
    count = 0
    for at in range(hashes.size):
        if at == 0 or hashes[at] != hashes[at - 1]:
            firsts[count] = at
            having[count] = 1
            count += 1
        elif examples[at] != examples[at - 1]:
            having[count - 1] += 1
    firsts[count] = hashes.size
    return firsts[: count + 1].copy(), having[:count].copy()


def _listed(
    examples: Examples,
    found: Words,
    posted: Postings,
    firsts: Integers,
    documents: Integers,
    having: Integers,
    is_common: npt.NDArray[np.bool_],
) -> list[Common]:
    """The most common triples in words."""
    common = np.flatnonzero(is_common)
    common = common[np.lexsort((-having[common], -documents[common]))][:LISTED]
    listed = []
    for kind, posting in zip(common.tolist(), firsts[common].tolist(), strict=True):
        base = found.offsets[examples.first_field[posted.examples[posting]]]
        words = [int(base + slot) if slot >= 0 else -1 for slot in posted.slots[posting].tolist()]
        text = " ".join(_word(examples, found, word) for word in words)
        listed.append(Common(text, int(documents[kind]), int(having[kind])))
    return listed


def _word(examples: Examples, found: Words, word: int) -> str:
    if word < 0:
        return "(letter)"
    field = int(np.searchsorted(found.offsets, word, "right")) - 1
    text = examples.texts[field].encode()
    return text[found.starts[word] : found.ends[word]].decode()
