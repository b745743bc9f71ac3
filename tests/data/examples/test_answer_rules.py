"""Answer rules: planted faults are found, real docstrings pass, hostile text does no harm."""

import ast
import inspect
import json
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.data.examples.answer_rules import RULES, AnswerRules, is_docstring

GOOD = "Return the number of `items` in the list.\n\nArgs:\n    items: what to count."


def test_a_good_answer_keeps_every_rule() -> None:
    """A complete docstring that ended scores one."""
    assert AnswerRules().score(GOOD, ended=True) == 1.0


@pytest.mark.parametrize(
    ("answer", "ended", "rule"),
    [
        (GOOD, False, "ends"),
        ("Hi.", True, "length"),
        ("x" * 2_000, True, "length"),
        ('Return the "name of the thing.', True, "balanced"),
        ("Return the `name of the thing.", True, "balanced"),
        ('Return it. """\nimport os\n"""', True, "parses"),
        ("Return a null \0 byte.", True, "parses"),
    ],
)
def test_each_fault_breaks_its_rule_only(answer: str, ended: bool, rule: str) -> None:
    """One planted fault costs exactly one rule."""
    verdicts = AnswerRules().check(answer, ended)
    assert [name for name, held in verdicts.items() if not held] == [rule]
    assert AnswerRules().score(answer, ended) == pytest.approx(1 - 1 / len(RULES["docstring"]))


@pytest.mark.parametrize("answer", ["", "  \n "])
def test_silence_earns_nothing(answer: str) -> None:
    """An empty answer scores zero although it ends and is balanced."""
    assert AnswerRules().score(answer, ended=True) == 0.0


def test_docstrings_of_the_standard_library_parse() -> None:
    """The form rule accepts what people write: all docstrings of two modules."""
    for module in (json, textwrap, ast):
        for _, function in inspect.getmembers(module, inspect.isfunction):
            if function.__doc__:
                assert is_docstring(function.__doc__), function


@given(st.text(max_size=60))
def test_any_text_gets_a_verdict(answer: str) -> None:
    """No text raises or warns, and an accepted one is the docstring that Python reads back."""
    rules = AnswerRules(min_characters=1)
    assert 0.0 <= rules.score(answer, ended=True) <= 1.0
    if is_docstring(answer):
        assert '"""' not in answer
        assert answer.strip()


def test_impossible_bounds_are_refused() -> None:
    """Bounds that no answer can meet raise where they are made."""
    with pytest.raises(ValueError, match="min_characters"):
        AnswerRules(min_characters=10, max_characters=5)
