"""Benchmarks from held-out documents: answers are right, distractors fair, choices stable."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from millrace.data.documents.shards import document_id
from millrace.data.examples import benchmark_sets
from millrace.data.examples.benchmark_sets import Limits, build, cut, last_return, without_header

VERBS = ["Adds", "Turns", "Opens", "Grinds", "Weighs", "Carries", "Mends", "Counts", "Sells", "Reads"]
NOUNS = ["grain", "wheels", "gates", "stones", "sacks", "water", "boards", "coins", "flour", "books"]
DEFAULT = Limits()
PROSE = "The {0} of the mill were old, and the miller had to look after them every day. "


def code(number: int) -> dict[str, Any]:
    """A module with two functions that nobody else has."""
    body = "".join(
        f'def {verb.lower()}_{noun}(amount, rate):\n    """{verb} the {noun} {number} times for the miller."""\n'
        f"    total = amount * rate + {number}\n    return total\n\n"
        for verb, noun in zip(VERBS[number % 10 :], NOUNS, strict=False)
    )
    return row(f"made://{number}.py", body, "python", "code")


def prose(number: int) -> dict[str, Any]:
    noun = NOUNS[number % 10]
    text = "\n\n".join(
        PROSE.format(noun) + f"Chapter {part} of story {number} ends here." for part in range(4)
    )
    return row(f"made://{number}.txt", text, "en", "books")


def row(uri: str, text: str, lang: str, source: str) -> dict[str, Any]:
    return {"doc_id": document_id(uri, ""), "uri": uri, "text": text, "lang": lang, "source": source}


def sets_of(
    rows: list[dict[str, Any]], limits: Limits = DEFAULT, seed: int = 0
) -> dict[str, list[dict[str, Any]]]:
    return {one.name: list(one.examples) for one in build(rows, limits, seed)}


def test_code_gives_docstrings_returns_and_texts_and_prose_gives_continuations_and_texts() -> None:
    names = [one.name for one in build([*map(code, range(4)), *map(prose, range(6))], Limits(), 0)]
    assert names == ["docstrings", "returns", "continuations", "held_out_books", "held_out_code"]


def test_the_right_docstring_is_among_four_different_ones_and_its_place_is_balanced() -> None:
    examples = sets_of([code(number) for number in range(10)])["docstrings"]
    assert len(examples) > 40
    for example in examples:
        name = example["prompt"].split("(")[0].removeprefix("def ")
        right = example["choices"][example["answer"]]
        assert right.lower().startswith(name.replace("_", " the "))
        assert example["prompt"].endswith(':\n    """')
        assert right not in example["prompt"]
        assert len(set(example["choices"])) == 4
    places = Counter(example["answer"] for example in examples)
    assert min(places[place] for place in range(4)) > len(examples) / 8


def test_a_continuation_is_the_documents_own_and_distractors_are_of_others() -> None:
    examples = sets_of([prose(number) for number in range(10)])["continuations"]
    for example in examples:
        story = example["prompt"].split("story ")[1].split(" ")[0]
        is_own = [f"of story {story} " in choice for choice in example["choices"]]
        assert is_own == [place == example["answer"] for place in range(4)]


def test_distractors_are_of_the_same_source_and_language() -> None:
    rows = [
        prose(number) | {"source": "ab"[number % 2], "lang": ("en", "fr")[number % 2]} for number in range(12)
    ]
    examples = sets_of(rows)["continuations"]
    assert len(examples) > 8
    for example in examples:
        stories = {int(choice.split("story ")[1].split(" ")[0]) % 2 for choice in example["choices"]}
        assert len(stories) == 1


def test_the_same_documents_in_another_order_give_the_same_sets_and_another_seed_gives_others() -> None:
    rows = [*map(code, range(5)), *map(prose, range(6))]
    assert sets_of(rows) == sets_of(rows[::-1])
    assert sets_of(rows, seed=1) != sets_of(rows)


def test_limits_hold_and_zero_leaves_a_set_out() -> None:
    limits = Limits(docstrings=5, returns=0, continuations=2, texts=1, text_bytes=100)
    found = sets_of([*map(code, range(5)), *map(prose, range(6))], limits)
    assert {name: len(rows) for name, rows in found.items()} == {
        "docstrings": 5,
        "continuations": 2,
        "held_out_books": 1,
        "held_out_code": 1,
    }
    assert all(len(found[name][0]["text"].encode()) <= 100 for name in ("held_out_books", "held_out_code"))


def test_too_few_documents_for_distractors_give_no_questions() -> None:
    assert list(sets_of([row("made://a", PROSE * 3, "en", "books")])) == ["held_out_books"]


def test_copies_of_a_function_ask_once() -> None:
    rows = [code(0), code(0) | {"doc_id": "f" * 32}]
    assert len(sets_of(rows)["docstrings"]) == len(sets_of(rows[:1])["docstrings"])


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        ("def f(a):\n    b = a\n    return b", "b"),
        ("def f(self):\n    self.x = 1\n    return self.x", "self.x"),
        ("def f(a):\n    b = a\n    return a + b", None),
        ("def f(a):\n    a()\n    return None", None),
        ("def f(a):\n    aa = 1\n    return result", None),
        ("def f(a):\n    return a", None),
    ],
)
def test_a_last_line_asks_only_for_a_name_that_was_mentioned(source: str, answer: str | None) -> None:
    found = last_return(source)
    assert (found and found[1]) == answer
    if found:
        assert found[0] + " " + found[1] == source


def test_headers_are_licences_and_module_docstrings_and_nothing_else() -> None:
    assert without_header('# Licensed\n\n"""Doc.\n\nMore."""\n\nimport os\n# x\n') == "import os\n# x\n"
    assert without_header("import os\n") == "import os\n"
    assert without_header("# only\n") == ""
    assert without_header('"""broken') == '"""broken'


def test_texts_are_cut_at_line_ends_or_characters() -> None:
    assert cut("ab\ncd\nef", 7) == "ab\ncd\n"
    assert cut("é" * 10, 5) == "éé"
    assert cut("short", 5) == "short"
    assert benchmark_sets.CHOICES == 4
