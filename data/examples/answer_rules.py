"""Rules about a generated answer that need no model: they are checked exactly, so a policy cannot game them.

A reward model can be gamed; these cannot, which is why ``rlhf`` adds them to the learned heads and reports each one's
pass rate. An answer's score is the share of its rules that hold rather than all-or-nothing: early policies fail one
rule far more often than all, and a leave-one-out advantage is zero for a prompt whose samples all score the same. An
empty answer scores zero, else silence would earn the points for balance and form.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Literal

Form = Literal["docstring", "text"]

RULES: dict[Form, tuple[str, ...]] = {
    "docstring": ("ends", "not_empty", "length", "balanced", "parses"),
    "text": ("ends", "not_empty", "length", "balanced"),
}


@dataclass(frozen=True)
class AnswerRules:
    """The rules that an answer must keep.

    Attributes:
        form: ``docstring`` also asks that the answer can stand as the docstring of a function.
        min_characters: Fewest characters, without surrounding white space.
        max_characters: Most characters.
    """

    form: Form = "docstring"
    min_characters: int = 8
    max_characters: int = 1_000

    def __post_init__(self) -> None:
        if not 1 <= self.min_characters <= self.max_characters:
            raise ValueError(
                f"got min_characters {self.min_characters} and max_characters {self.max_characters}, "
                "expected 1 <= min_characters <= max_characters"
            )

    def check(self, answer: str, ended: bool) -> dict[str, bool]:
        """Whether the answer keeps each rule.

        Args:
            answer: The generated text, without control tokens.
            ended: Whether the model closed the answer itself, rather than being cut off.

        Returns:
            Rule -> whether it holds, in the order of ``RULES[form]``.
        """
        size = len(answer.strip())
        verdicts = {
            "ends": ended,
            "not_empty": size > 0,
            "length": self.min_characters <= size <= self.max_characters,
            "balanced": is_balanced(answer),
            "parses": is_docstring(answer),
        }
        return {rule: verdicts[rule] for rule in RULES[self.form]}

    def score(self, answer: str, ended: bool) -> float:
        """The share of rules that the answer keeps, in [0, 1]; 0 for an empty one."""
        verdicts = self.check(answer, ended)
        return sum(verdicts.values()) / len(verdicts) if verdicts["not_empty"] else 0.0


def is_balanced(answer: str) -> bool:
    """Whether double quotes and backticks come in pairs (apostrophes are letters in prose)."""
    return answer.count('"') % 2 == 0 and answer.count("`") % 2 == 0


def is_docstring(answer: str) -> bool:
    """Whether Python reads the answer, put between triple quotes in a function, as that function's docstring.

    It is written as PEP 257 says: raw when it holds a backslash, closing quotes on their own line.
    """
    if '"""' in answer:  # would end the literal and put what follows in code position
        return False
    prefix = "r" if "\\" in answer else ""
    source = f'def answer():\n    {prefix}"""{answer}\n    """\n'
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # ValueError: null bytes, lone surrogates
        return False
    function = tree.body[0]
    return (
        len(tree.body) == 1
        and isinstance(function, ast.FunctionDef)
        and len(function.body) == 1
        and bool((ast.get_docstring(function) or "").strip())
    )
