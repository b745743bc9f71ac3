"""Functions are cut out of source as written, and only where source and docstring part cleanly."""

from __future__ import annotations

import ast
import inspect
import statistics

from hypothesis import given
from hypothesis import strategies as st

from millrace.data.examples.functions import functions, is_descriptive

SOURCE = '''
class Mill:
    @property
    async def grind(
        self, grain: str,  # what to grind
    ) -> int:
        """Grinds the grain
        between two stones.

        More about it.
        """
        # the stones
        stones = 2

        def inner():
            \'\'\'Counts the stones again.\'\'\'
            return stones
        return stones

def without(): return 1

def only_docstring():
    """Says something, does nothing."""

def one_line(): """Doc."""; return 2

def same_line():
    """Doc of this."""; x = 1
    return x
'''


def test_functions_come_with_qualified_names_signatures_sources_and_summaries() -> None:
    outer, inner = functions(SOURCE)
    assert (outer.qualified_name, outer.line) == ("Mill.grind", 4)
    assert outer.signature == "async def grind(\n    self, grain: str,  # what to grind\n) -> int:"
    assert outer.summary == "Grinds the grain between two stones."
    assert outer.docstring.endswith("\n\nMore about it.")
    assert outer.source.startswith(outer.signature + "\n    # the stones\n    stones = 2\n")
    assert "Grinds" not in outer.source
    assert inner.qualified_name == "Mill.grind.inner"
    assert inner.source == "def inner():\n    return stones"


def test_the_standard_library_gives_functions_whose_sources_parse_without_their_docstrings() -> None:
    found = functions(inspect.getsource(statistics))
    assert len(found) > 20
    for function in found:
        node = ast.parse(function.source).body[0]
        assert isinstance(node, ast.FunctionDef)
        assert node.name == function.name


@given(st.text(max_size=80))
def test_any_text_is_taken_without_an_error(text: str) -> None:
    assert isinstance(functions('"""' + text), list)


def test_source_that_does_not_parse_gives_nothing() -> None:
    for text in ('"""', 'print "old"\n"""x"""', 'x = """\0"""', "(" * 500 + '"""'):
        assert functions(text) == []


def test_a_summary_describes_when_it_has_words_and_is_no_reference() -> None:
    assert is_descriptive("Return the number of stones in the mill.")
    assert not is_descriptive("See base class for what this does.")
    assert not is_descriptive("x -> y, (1, 2, 3), [4], 5 of them")
    assert not is_descriptive("Too short.")
    assert not is_descriptive("word " * 100)
