"""The language of a file in a code repository: by its name, by the interpreter that its first line names, by its text.

Names come from Pygments, which is installed with Rich: its table of 602 languages has ``Dockerfile`` and ``meson.build``
as well as suffixes, and costs 12 ms to read. Its own guessing is not used where it matters: it loads the code of every
lexer that fits a name, and takes C++ headers without an ``#include`` for C. Suffixes that several languages use
(``.h``, ``.m``, ``.pl``) are decided by a pattern for each that the others do not have, and where there is none, by
Pygments' ``analyse_text``.

A language is called by Pygments' first alias (``python``, ``cpp``, ``javascript``, ``bash``), ``text`` when nothing
identifies it.

References:
    Pygments, "Available lexers" (names and aliases). GitHub Linguist, ``lib/linguist/heuristics.yml``, which also
    decides shared suffixes by patterns; these here are our own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

HEAD_CHARACTERS = 1 << 15
"""How much of a text is looked at; licences of hundreds of lines stand before many headers."""

PROSE = frozenset({"text", "markdown", "restructuredtext", "asciidoc", "org", "pod"})
"""What is written for people: its documents' tag is the source's language, as in files of text."""

RENAMED: Mapping[str, str] = {"splus": "r", "cr": "crystal", "nixos": "nix"}
"""Where Pygments' first alias is not what people call a language."""

ADDED: Mapping[str, str] = {
    "ac": "m4",
    "adoc": "asciidoc",
    "am": "make",
    "cts": "typescript",
    "csv": "csv",
    "ipynb": "jupyter",
    "jsonc": "json",
    "m4": "m4",
    "mdx": "markdown",
    "mlir": "mlir",
    "mts": "typescript",
    "pod": "pod",
    "star": "python",
    "svelte": "svelte",
    "tsv": "tsv",
}
"""Suffixes that Pygments has no language for."""

INTERPRETERS: Mapping[str, str] = {
    "ash": "bash",
    "bun": "typescript",
    "deno": "typescript",
    "ksh": "bash",
    "make": "make",
    "node": "javascript",
    "nodejs": "javascript",
    "rscript": "r",
    "runghc": "haskell",
    "tclsh": "tcl",
    "ts-node": "typescript",
    "wish": "tcl",
}
"""Interpreters that are not called like their language."""


class Rule(NamedTuple):
    """How a suffix that several languages use is decided.

    Attributes:
        patterns: Language -> a pattern that its files have and the others' do not; the first that is found decides. Each
            begins with a letter or a line end, which lets Python's search skip to it: ``^`` makes it ten times slower.
        otherwise: The language of files with none of them.
    """

    patterns: tuple[tuple[str, str], ...]
    otherwise: str


_OBJECTIVE_C = (
    "objective-c",
    r"\n[ \t]*(@(interface|implementation|protocol|class|property|end|import)\b|#import\b)",
)
_CPP = (
    (
        "cpp",
        r"\n[ \t]*((class|struct)\s+[\w:]+(\s+[\w:]+)?\s*(final\s*)?:\s*(public\b|private\b|protected\b|virtual\b|[A-Z])"
        r"|class\s+[\w:]+(\s+[\w:]+)?\s*[{;\n]|template\s*<|(inline\s+)?namespace(\s+[\w:]+)?\s*[{\n]"
        r"|using\s+(namespace\s|\w+::|\w+\s*=)|(public|private|protected)\s*:|enum\s+class\s|(static\s+)?constexpr\s"
        r"|#\s*include\s*<(c(assert|ctype|errno|float|inttypes|limits|math|stdarg|stddef|stdint|stdio|stdlib|string|time)"
        r"|algorithm|array|atomic|functional|iostream|map|memory|mutex|string|tuple|type_traits|unordered_map|utility"
        r"|vector)>)",
    ),
    ("cpp", r"std::\w"),
    ("cpp", r"_cast<"),
)
_PROLOG = ("prolog", r"\n(:-\s*\w|[a-z]\w*(\(.*\))?\s*:-)")
_RAKU = (
    "perl6",
    r"\n[ \t]*(use\s+v6|unit\s+(module|class)|(multi|proto)\s+(sub|method)|grammar\s+\w+\s*\{)",
)
RULES: Mapping[str, Rule] = {
    "asm": Rule((), "nasm"),
    "c": Rule((), "c"),
    "cl": Rule((("common-lisp", r"\n[ \t]*\((def|in-package|eval-when|setf)"),), "opencl"),
    "cls": Rule((("tex", r"\n[^%\n]*\\(Provides|NeedsTeXFormat|newcommand|def)"),), "apex"),
    "cp": Rule((), "cpp"),
    "def": Rule((("modula2", r"\n(?i:definition\s+module)\s"),), "text"),
    "d": Rule((("make", r"\n\S+\.(l?o|d)\s*:"),), "d"),
    "fs": Rule(
        (("glsl", r"gl_[A-Z]\w+"), ("glsl", r"\n#version\b"), ("forth", r"\n(: \S+\s|\\ )")), "fsharp"
    ),
    "h": Rule((_OBJECTIVE_C, *_CPP), "c"),
    "hh": Rule((("objective-c++", _OBJECTIVE_C[1]),), "cpp"),
    "lean": Rule((), "lean4"),
    "m": Rule(
        (
            _OBJECTIVE_C,
            ("objective-c", r"\n[ \t]*#\s*(include|define|if)\b"),
            ("mathematica", r"\n[ \t]*\(\*"),
            ("octave", r"\n[ \t]*(##|end(function|if|while|for)\b)"),
        ),
        "matlab",
    ),
    "mm": Rule((("maple", r"\n[ \t]*\w+\s*:=\s*proc\("),), "objective-c++"),
    "mod": Rule(
        (("modula2", r"\n[ \t]*(?i:((definition|implementation)\s+)?module\s+\w+\s*;)"),), "go-module"
    ),
    "pl": Rule((_PROLOG, _RAKU), "perl"),
    "pm": Rule((("promela", r"\n[ \t]*(active\s+)?(proctype|mtype)\b"), _RAKU), "perl"),
    "pro": Rule(
        (
            _PROLOG,
            ("qmake", r"\n[ \t]*(SOURCES|TARGET|CONFIG|QT|TEMPLATE|HEADERS|SUBDIRS)\s*[+*]?="),
        ),
        "idl",
    ),
    "r": Rule((("rebol", r"\n[ \t]*(?i:rebol)\s*\["),), "r"),
    "s": Rule((), "gas"),
    "sql": Rule((), "sql"),
    "t": Rule((_RAKU,), "perl"),
    "toc": Rule((("wowtoc", r"\n##\s*Interface\s*:"),), "tex"),
    "ts": Rule((("xml", r"\n[ \t]*<(\?xml\s|!DOCTYPE\s+TS|TS\s)"),), "typescript"),
    "v": Rule(
        (
            (
                "coq",
                r"\n[ \t]*(Require\s|Theorem\s|Lemma\s|Definition\s|Inductive\s|Fixpoint\s|Qed\.|From\s+\w+\s+Require)",
            ),
        ),
        "verilog",
    ),
    "xsl": Rule((), "xslt"),
    "xslt": Rule((), "xslt"),
    **{
        number: Rule((("groff", r"""\n(\.\\"|'\\"|\.(TH|Dd|SH|Sh|so)\b)"""),), "text")
        for number in "123456789"
    },
}


class Names(NamedTuple):
    """Pygments' table.

    Attributes:
        files: Whole file name -> languages.
        suffixes: Suffix without the dot, such as ``py`` or ``blade.php`` -> languages.
        patterns: Other patterns, each with its language.
        aliases: Any name of a language -> the name used here.
    """

    files: dict[str, tuple[str, ...]]
    suffixes: dict[str, tuple[str, ...]]
    patterns: tuple[tuple[re.Pattern[str], str], ...]
    aliases: dict[str, str]


@cache
def names() -> Names:
    """The table, read once."""
    import fnmatch

    from pygments.lexers import get_all_lexers

    files: dict[str, tuple[str, ...]] = {}
    suffixes: dict[str, tuple[str, ...]] = {suffix: (language,) for suffix, language in ADDED.items()}
    patterns: list[tuple[re.Pattern[str], str]] = []
    aliases: dict[str, str] = {}
    for _, own, wanted, _ in get_all_lexers(plugins=False):
        if not own:
            continue
        language = RENAMED.get(own[0], own[0])
        for alias in own:
            aliases.setdefault(alias, language)
        for pattern in wanted:
            if not re.search(r"[*?\[]", pattern):
                files[pattern] = (*files.get(pattern, ()), language)
            elif match := re.fullmatch(r"\*\.([^*?\[\]]+)", pattern):
                before = suffixes.get(match[1], ())
                if language not in before:
                    suffixes[match[1]] = (*before, language)
            elif pattern != "*.[1-9]":
                patterns.append((re.compile(fnmatch.translate(pattern)), language))
    for language in [
        *ADDED.values(),
        *(language for rule in RULES.values() for language, _ in rule.patterns),
    ]:
        aliases[language] = language
    for rule in RULES.values():
        aliases[rule.otherwise] = rule.otherwise
    return Names(files, suffixes, tuple(patterns), aliases)


def language_of(path: str, text: str) -> str:
    """The language of a file.

    Args:
        path: Its path in the repository.
        text: Its text; only the beginning is read.
    """
    name = path.rsplit("/", 1)[-1]
    found = _of_name(name)
    if found is not None and len(found) == 1 and not found[0].startswith("."):
        return found[0]
    head = text[:HEAD_CHARACTERS]
    if interpreted := _of_interpreter(head):
        return interpreted
    if not found:
        return "text"
    if found[0].startswith("."):
        rule = RULES[found[0][1:]]
        lines = "\n" + head
        return next(
            (language for language, pattern in rule.patterns if re.search(pattern, lines)), rule.otherwise
        )
    return _guessed(found, head)


@cache
def _of_name(name: str) -> tuple[str, ...]:
    """The languages that a name fits; ``.h`` by itself for one that a rule decides."""
    table = names()
    if name in table.files:
        return table.files[name]
    suffix = name
    while "." in suffix:
        suffix = suffix.split(".", 1)[1]
        # C++ of Unix is .C and .H, and R is .R.
        for own in (suffix, suffix.lower()):
            if own in ("C", "H"):
                return ("cpp",)
            if own.lower() in RULES:
                return (f".{own.lower()}",)
            if own in table.suffixes:
                return table.suffixes[own]
    return next(((language,) for pattern, language in table.patterns if pattern.match(name)), ())


def _of_interpreter(head: str) -> str | None:
    """The language that ``#!/usr/bin/env -S python3 -u`` names, or None."""
    if not head.startswith("#!"):
        return None
    words = head[2:200].split("\n", 1)[0].split()
    names_of_words = [
        word.rsplit("/", 1)[-1] for word in words if not word.startswith("-") and "=" not in word
    ]
    if len(names_of_words) > 1 and names_of_words[0] == "env":
        names_of_words = names_of_words[1:]
    if not names_of_words:
        return None
    name = re.sub(r"[\d.]+$", "", names_of_words[0].lower())
    return INTERPRETERS.get(name) or names().aliases.get(name)


def _guessed(languages: tuple[str, ...], head: str) -> str:
    """The one of some languages that Pygments finds in a text; the first of equals."""
    scores = [float(_lexer(language).analyse_text(head)) for language in languages]
    return languages[scores.index(max(scores))]


@cache
def _lexer(language: str) -> Any:
    from pygments.lexers import find_lexer_class_by_name

    own = {renamed: name for name, renamed in RENAMED.items()}
    return find_lexer_class_by_name(own.get(language, language))
