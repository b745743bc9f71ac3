"""C4's rules line by line: what stays, what is cut, and what ends a page."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.data.filters.heuristics import c4
from millrace.data.text.batch import TextBatch, from_texts

GOOD = "Here is a line to keep."
CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]")
PIECES = st.sampled_from(
    ["a", "bcd", "e.", "f!", '"', "...", "[1]", "[edit]", "[citation needed]", "[x]", "JavaScript", "{", "use", "Cookies",
     "lorem", "ipsum.", "中文", "\u3000", "\n", "\n", "\r\n", "\x0b", "\u2028", "  ", "privacy policy.", "reuse cookies.",
     "terms of use.", "Of Use", "xJavascripty", 'b?")]', "?'.'"]
)  # fmt: skip
TEXTS = st.lists(PIECES, max_size=30).map(" ".join)


def cleaned(text: str, rules: c4.LineRules | None = None) -> tuple[str, dict[str, float], dict[str, int]]:
    """The text that stays, the values and the counts, of one text in the middle of a batch."""
    batch = from_texts(["before it.", text, "behind it"])
    found = c4.clean(TextBatch(batch.data, batch.offsets), rules)
    offsets = found.edited.batch.offsets
    left = found.edited.batch.data[offsets[1] : offsets[2]].tobytes().decode()
    values = {name: column[1] for name, column in found.values.items()}
    return left, values, {name: int(column[1]) for name, column in found.edited.counts.items()}


def reference(text: str) -> tuple[str, dict[str, float]]:
    """The rules over Python strings."""
    kept: list[str] = []
    values: dict[str, float] = dict.fromkeys(c4.VALUES, 0.0)
    for raw in text.splitlines():
        words, line = raw.split(), CITATION.sub("", raw.strip())
        if not line.endswith((".", "?", "!", '"', "'")) or line.endswith("...") or len(words) < 3:
            continue
        low = line.lower()
        if "lorem ipsum" in low:
            return text, values | {"lorem_ipsum": 1}
        if "javascript" in low:
            continue
        if "{" in line:
            return text, values | {"curly_brackets": 1}
        if any(phrase in low for phrase in c4.POLICY_PHRASES):
            continue
        ends = [match.end() for match in re.finditer(r"[.?!][\"')\]]*(?=\s|$)", line)]
        more = bool(line[ends[-1] if ends else 0 :].strip())
        values["sentences"] += max(len(ends) + more, 1)
        kept.append(line)
    return "\n".join(kept).strip(), values


@settings(deadline=None, max_examples=300)  # the first call compiles
@given(TEXTS)
def test_lines_and_values_are_those_of_the_rules_over_strings(text: str) -> None:
    left, values, counts = cleaned(text)
    assert (left, values) == reference(text)
    assert (left != text) == any(counts.values())


@pytest.mark.parametrize(
    ("line", "switched_off"),
    [
        ("Too short.", {"min_words": 1}),
        ("This line has no end", {"terminal_punctuation": False}),
        ("This line trails off...", {"terminal_punctuation": False}),
        ("Please switch JavaScript on.", {"javascript": False}),
        ("We use cookies on this site.", {"policy": False}),
        ("One word is " + "x" * 1001 + ".", {"max_word_characters": 2000}),
    ],
)
def test_a_line_that_a_rule_cuts_stays_without_the_rule(line: str, switched_off: dict[str, Any]) -> None:
    text = f"{GOOD}\n{line}\n{GOOD}"
    assert cleaned(text)[0] == f"{GOOD}\n{GOOD}"
    assert cleaned(text)[2]["lines"] == 1
    left, _, counts = cleaned(text, c4.LineRules(**switched_off))
    assert left == text
    assert not any(counts.values())


@pytest.mark.parametrize(
    ("line", "value", "switched_off"),
    [
        ("Some lorem ipsum for you.", "lorem_ipsum", {"lorem_ipsum": False}),
        ("A { is not prose.", "curly_brackets", {"curly_brackets": False}),
    ],
)
def test_a_template_is_known_unless_the_rule_is_off(
    line: str, value: str, switched_off: dict[str, bool]
) -> None:
    assert cleaned(f"{GOOD}\n{line}")[1][value] == 1
    assert cleaned(f"{GOOD}\n{line}", c4.LineRules(**switched_off))[1][value] == 0


def test_citations_are_cut_and_counted() -> None:
    left, _, counts = cleaned("It is so.[1][citation needed] And[2] so it is.")
    assert left == "It is so. And so it is."
    assert counts == {"lines": 0, "citations": 3, "white_space": 0}
    uncut = cleaned("And [2] so it is.", c4.LineRules(citations=False))
    assert uncut[0] == "And [2] so it is."
