"""Pairs and preferences: answers are true, rejected ones wrong in the way their head names, sides never mix."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.data.documents.shards import document_id
from millrace.data.examples.instruction_sets import (
    PROMPTS,
    Pair,
    Sizes,
    chat,
    choose,
    pairs_of,
    preferences,
    split,
    truncated,
)

CODE = '''
def {name}_grain(amount,
                 rate=2):
    """Grinds the {name} grain between the old stones of the mill."""
    return amount * rate

def odd_{name}():
    """Says "it with an odd number of quotes in the {name} words."""
    return 1

def short_{name}():
    """Grinds."""
    return 2
'''
PROSE = "The {0} of the mill were old, and the miller had to look after them every single day.\n\n"


def row(name: str, text: str, lang: str) -> dict[str, Any]:
    return {"doc_id": document_id(name, ""), "uri": name, "text": text, "lang": lang, "source": "made"}


def code(name: str) -> dict[str, Any]:
    return row(name, CODE.format(name=name), "python")


def prose(name: str) -> dict[str, Any]:
    return row(name, "".join(PROSE.format(f"{name} {part}") for part in ("stones", "wheels", "gates")), "en")


def made(count: int, **sizes: Any) -> list[Pair]:
    return [pair for index in range(count) for pair in pairs_of(code(f"n{index}"), Sizes(**sizes), 0)]


def test_python_gives_docstring_pairs_whose_answers_say_something_and_keep_the_answer_rules() -> None:
    (pair,) = pairs_of(code("new"), Sizes(), 0)
    assert pair.prompt.startswith("Write the docstring of this function.\n\ndef new_grain(")
    assert pair.answer == "Grinds the new grain between the old stones of the mill."
    assert pair.answer not in pair.prompt
    assert chat(pair)["messages"][1] == {"role": "assistant", "content": pair.answer}


def test_prose_gives_what_really_follows() -> None:
    pairs = pairs_of(prose("new"), Sizes(), 0)
    assert {pair.answer.split(" ")[2] for pair in pairs} == {"wheels", "gates"}
    assert all(pair.task == "continuation" for pair in pairs)


def test_tasks_are_those_asked_for_and_a_signature_is_one_line() -> None:
    pairs = pairs_of(code("new"), Sizes(tasks=("signature", "continuation")), 0)
    pair = next(pair for pair in pairs if "new_grain" in pair.answer)
    assert pair.answer == "def new_grain(amount, rate=2):"
    assert {pair.task for pair in pairs} == {"signature"}
    assert pair.prompt == PROMPTS["signature"].format(
        "Grinds the new grain between the old stones of the mill."
    )


def test_limits_hold() -> None:
    assert pairs_of(code("new"), Sizes(prompt_characters=60), 0) == []
    assert pairs_of(code("new"), Sizes(answer_characters=20), 0) == []
    assert len(pairs_of(prose("new"), Sizes(per_document=1), 0)) == 1


def test_the_choice_does_not_depend_on_order_and_repeats_nothing() -> None:
    pairs = made(20)
    assert choose(pairs, 0, 10) == choose(pairs[::-1], 0, 10)
    copies = [pair for pair in made(5) for _ in range(2)]
    assert len(choose(copies, 0, 100)) == 5
    assert choose(pairs, 1, 10) != choose(pairs, 0, 10)


def test_all_pairs_of_a_document_are_on_one_side_and_both_sides_have_some() -> None:
    pairs = [
        pair for index in range(60) for pair in pairs_of(prose(f"n{index}"), Sizes(held_out_fraction=0.2), 0)
    ]
    train, held_out = split(pairs, 0)
    assert not {pair.doc_id for pair in train} & {pair.doc_id for pair in held_out}
    assert 4 <= len(held_out) <= 60
    for few in (made(2), pairs_of(prose("one"), Sizes(), 0)):
        assert [len(side) for side in split(few, 0)] == [1, 1]


def test_rejected_answers_are_another_documents_or_broken_off() -> None:
    pairs = made(12)
    answers = {pair.answer for pair in pairs}
    rows = preferences(pairs, 0)
    assert len(rows) == 2 * len(pairs)
    for one in rows:
        if one["head"] == "relevance":
            assert one["rejected"] in answers - {one["chosen"]}
        else:
            assert one["chosen"].startswith(one["rejected"] + " ")


def test_rejected_answers_are_of_the_same_language() -> None:
    rows = [prose(f"n{i}") | {"lang": ("en", "fr")[i % 2]} for i in range(12)]
    pairs = [pair for row in rows for pair in pairs_of(row, Sizes(), 0)]
    lang = {pair.answer: pair.lang for pair in pairs}
    found = [one for one in preferences(pairs, 0) if one["head"] == "relevance"]
    assert len(found) == len(pairs)
    assert all(lang[one["rejected"]] == lang[one["chosen"]] for one in found)


def test_a_single_pair_has_no_other_answer_to_reject() -> None:
    assert [one["head"] for one in preferences(made(1), 0)] == ["completeness"]


@given(st.lists(st.text("ab", min_size=1), min_size=1, max_size=30), st.integers(0, 9))
def test_a_broken_off_answer_is_a_proper_beginning(words: list[str], seed: int) -> None:
    answer = " ".join(words)
    found = truncated(answer, seed, "x")
    if found is not None:
        assert answer.startswith(found + " ")
        assert 0.25 <= len(found.split(" ")) / len(words) <= 0.8
    else:
        assert len(words) <= 3


@pytest.mark.parametrize("text", ["", "def f(:\n", "x" * 200_000])
def test_a_document_without_material_gives_nothing(text: str) -> None:
    assert pairs_of(row("a", text, "python"), Sizes(), 0) == []
    assert pairs_of(row("a", text, "en"), Sizes(), 0) == []
