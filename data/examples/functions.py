"""Extracts functions and their docstrings from Python source by ``ast``, as pairs of text and description.

People wrote each docstring about exactly this code, so it gives evaluation questions and supervised pairs without
annotators. Source is cut by lines and never printed from the tree (``ast.unparse`` would normalise what people wrote
and lose comments).
"""

from __future__ import annotations

import ast
import inspect
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
BLOCKS = ("body", "orelse", "finalbody")


@dataclass(frozen=True)
class Function:
    """One function with a docstring.

    Attributes:
        name: Its own name.
        qualified_name: With the classes and functions around it, joined by dots.
        line: Line of its ``def``, from 1.
        signature: From ``def`` to the colon, as written, without indentation.
        source: Signature and body without the docstring, without indentation.
        docstring: The whole docstring, cleaned of indentation.
        summary: The docstring's first paragraph on one line.
    """

    name: str
    qualified_name: str
    line: int
    signature: str
    source: str
    docstring: str
    summary: str


def functions(text: str) -> list[Function]:
    """The functions with docstrings and a body of their own, in the order of the source.

    Args:
        text: Python source. Source that this interpreter cannot parse gives no functions.
    """
    if '"""' not in text and "'''" not in text:
        return []  # parsing is slow, and four files of ten have no docstring
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other people's invalid escapes
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    lines = text.split("\n")
    return [
        found for node, name in _walk(tree.body, "") if (found := _function(node, name, lines)) is not None
    ]


def _walk(body: list[ast.stmt], prefix: str) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, str]]:
    """Functions among statements and in what they hold; expressions hold none, and are most of a tree."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node, prefix + node.name
        inner = f"{prefix}{node.name}." if isinstance(node, SCOPES) else prefix
        for blocks in BLOCKS:
            yield from _walk(getattr(node, blocks, []), inner)
        for clause in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
            yield from _walk(clause.body, inner)


def _function(
    node: ast.FunctionDef | ast.AsyncFunctionDef, qualified_name: str, lines: list[str]
) -> Function | None:
    docstring = ast.get_docstring(node, clean=False)
    if docstring is None or len(node.body) < 2:
        return None
    expression = node.body[0]
    end_line = node.end_lineno or node.lineno
    docstring_end = expression.end_lineno or expression.lineno
    # Whole lines only: a docstring that shares a line with code stays whole, and the function is passed over.
    if expression.lineno <= node.lineno or node.body[1].lineno <= docstring_end:
        return None
    indent = lines[node.lineno - 1][: node.col_offset]
    if indent.strip():
        return None
    header = lines[node.lineno - 1 : expression.lineno - 1]
    signature = "\n".join(line.removeprefix(indent) for line in header).rstrip()
    if not signature.endswith(":"):
        return None  # a comment between signature and docstring
    body = "\n".join(line.removeprefix(indent) for line in lines[docstring_end:end_line])
    cleaned = inspect.cleandoc(docstring)
    first = cleaned.split("\n\n", 1)[0]
    summary = " ".join(first.split())
    if not summary:
        return None
    source = f"{signature}\n{body}".rstrip()
    return Function(node.name, qualified_name, node.lineno, signature, source, cleaned, summary)


def is_descriptive(summary: str, *, min_words: int = 4, max_characters: int = 240) -> bool:
    """Whether a docstring's first paragraph says something: enough words, mostly letters, no mere reference."""
    words = re.findall(r"[^\W\d_]{2,}", summary)
    return (
        len(words) >= min_words
        and len(summary) <= max_characters
        and sum(map(len, words)) >= 0.6 * len(summary)
        and not summary.lower().startswith(("see ", "deprecated", "todo", "internal ", ":", ".. ", ">>>"))
    )
