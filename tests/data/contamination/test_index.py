"""The worth of words, common triples, and an index saved and loaded."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from millrace.data.contamination import chains, index
from millrace.data.text.batch import from_texts

RULE = chains.Rule(0.33, 8.0)


def test_words_are_worth_the_bits_of_their_rarity() -> None:
    """A word that half of all texts have is worth a bit, a rare one more, a repeated one half each time."""
    sample = from_texts(["often x", "often y", "often z", "w"])
    examples = index.Examples.of([(("rare often rare rare",), 0), (("other words here now",), 0)])
    made = index.build(index.prepare(examples), sample, 10).index
    texts = 4 + 2 + 1
    assert made.bits[1] == pytest.approx(math.log2(texts / 4))
    assert made.bits[[0, 2, 3]].tolist() == pytest.approx(
        [math.log2(texts) * share for share in (1, 0.5, 0.25)]
    )
    assert made.total_bits[0, 0] == pytest.approx(made.bits[:4].sum())
    assert made.total_bits[:, 1].tolist() == made.total_bits[:, 0].tolist()


def test_characters_of_scripts_without_spaces_are_worth_half() -> None:
    """Six characters are no six words: it takes twice as many for the same evidence."""
    made = index.build(
        index.prepare(index.Examples.of([(("中文字符 four plain words here",), 0)])), from_texts(["x"]), 10
    ).index
    assert made.bits.tolist() == pytest.approx([math.log2(3) / 2] * 4 + [math.log2(3)] * 4)


def test_common_triples_are_left_out_and_listed() -> None:
    """A triple in more documents than the limit, or in very many examples, is no evidence; the words are shown as
    written.
    """
    sample = from_texts(["All rights reserved by us"] * 4 + ["by the way"])
    rows = [
        ((f"Which of the following number{at} word{at} is it? All rights reserved.",), 0) for at in range(40)
    ]
    built = index.build(index.prepare(index.Examples.of(rows)), sample, 3)
    texts = [one.text for one in built.common]
    assert texts[0] == "All rights reserved"
    assert {"Which of the", "of the following"} <= set(texts)
    assert (built.common[0].documents, built.common[0].examples) == (4, 40)
    assert built.common_triples == len(built.common)
    alone = from_texts(["which of the following: all rights reserved"])
    assert not len(chains.match(built.index, alone, RULE).rows)


def test_an_example_that_many_documents_have_is_told_from_a_short_one() -> None:
    """Without its common triples it is worth nothing; with them it would be worth much."""
    text = "a sentence of eight words that stands everywhere"
    built = index.build(
        index.prepare(index.Examples.of([((text,), 0), (("two words",), 0)])), from_texts([text] * 9), 3
    )
    assert chains.checkable(built.index, RULE).tolist() == [False, False]
    assert built.index.total_bits[0, 0] == 0
    assert built.whole_bits[0] > 0


def test_fields_are_told_apart() -> None:
    """Coverage is of the whole, of the question and of the right answer."""
    fields = (
        "what is the name of this strange bird",
        "wrong choice number one",
        "the right choice of them all",
    )
    made = index.build(index.prepare(index.Examples.of([(fields, 2)])), from_texts([]), 10).index
    assert (made.question_slots.tolist(), made.answer_slots.tolist()) == ([8], [[12, 18]])
    found = chains.match(made, from_texts([f"{fields[0]}? {fields[2]}", fields[0]]), RULE)
    assert found.coverage[:, 1].tolist() == pytest.approx([1.0, 1.0])
    assert found.coverage[:, 2].tolist() == pytest.approx([1.0, 0.0])
    assert 0 < found.coverage[1, 0] < found.coverage[0, 0] < 1


def test_an_index_survives_its_file(tmp_path: Path) -> None:
    """Workers load the saved index."""
    made = index.build(
        index.prepare(index.Examples.of([(("a b c d e", "f"), 1)])), from_texts(["a b c"]), 10
    ).index
    made.save(tmp_path / "index")
    loaded = index.Index.load(tmp_path / "index")
    for name, value in vars(made).items():
        assert np.array_equal(getattr(loaded, name), value)
        assert getattr(loaded, name).dtype == value.dtype
