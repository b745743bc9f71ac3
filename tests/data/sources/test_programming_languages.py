"""A file's language follows from its name, else its first line, and its text where several languages share a suffix."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from millrace.data.sources.programming_languages import RULES, language_of, names

CASES = [
    ("src/a.py", "", "python"),
    ("Dockerfile", "FROM x", "docker"),
    ("views/a.blade.php", "", "php"),
    ("A.PY", "", "python"),
    ("a.C", "", "cpp"),
    ("a.R", "x <- 1", "r"),
    ("README.md", "", "markdown"),
    ("LICENSE", "MIT", "text"),
    ("bin/run", "#!/usr/bin/env -S python3.11 -u\nprint()", "python"),
    ("bin/run", "#!/bin/sh\n", "bash"),
    ("bin/run", "#!/usr/bin/env node\n", "javascript"),
    ("bin/run", "#!/opt/own/thing\n", "text"),
    ("a.h", "/* class of things */\n#include <string.h>\nint f(void);\n", "c"),
    ("a.h", "#ifdef __cplusplus\nextern \"C\" {\n#endif\nstruct a { int b; };\n", "c"),
    ("a.h", "#pragma once\nnamespace a {\nclass B;\n}\n", "cpp"),
    ("a.h", "template <typename T> T f(T x);\n", "cpp"),
    ("a.h", "void f(std::string x);\n", "cpp"),
    ("a.h", "#import <A/A.h>\n@interface B : C\n@end\n", "objective-c"),
    ("a.m", "function y = f(x)\n% half\ny = x / 2;\n", "matlab"),
    ("a.m", "#import \"a.h\"\n@implementation B\n@end\n", "objective-c"),
    ("a.m", "## Copyright\nfunction f ()\nendfunction\n", "octave"),
    ("a.pl", "#!/usr/bin/perl\nuse strict;\n", "perl"),
    ("a.pl", "use strict;\nmy $x = 1;\n", "perl"),
    ("a.pl", "parent(a, b).\nold(X) :- parent(X, _).\n", "prolog"),
    ("a.v", "module a(input b);\nendmodule\n", "verilog"),
    ("a.v", "Require Import Arith.\nTheorem a : 1 = 1.\n", "coq"),
    ("a.ts", "export const a: number = 1;\n", "typescript"),
    ("a.ts", "<?xml version=\"1.0\"?>\n<TS>\n", "xml"),
    ("go.mod", "module example.org/a\n\ngo 1.22\n", "go-module"),
    ("man/a.1", ".TH A 1\n.SH NAME\n", "groff"),
    ("notes.1", "Some words.\n", "text"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "text", "language"), CASES)
def test_a_file_is_in_the_language_that_its_name_or_text_tells(path: str, text: str, language: str) -> None:
    assert language_of(path, text) == language


def test_every_rule_compiles_starts_with_a_letter_and_gives_a_name_that_specs_may_use() -> None:
    for suffix, rule in RULES.items():
        for language, pattern in (*rule.patterns, (rule.otherwise, "a")):
            re.compile(pattern)
            assert pattern.startswith("\\n") or pattern[0].isalpha() or pattern[0] == "_", suffix
            assert names().aliases[language] == language


def test_suffixes_without_a_rule_are_guessed_the_same_every_time() -> None:
    shared = {suffix: found for suffix, found in names().suffixes.items() if len(found) > 1}
    for suffix in sorted(set(shared) - {suffix.lower() for suffix in RULES}):
        assert language_of(f"a.{suffix}", "x = 1\n") == language_of(f"b.{suffix}", "x = 1\n")


def test_python_modules_of_the_standard_library_are_python() -> None:
    folder = Path(re.__file__).parent
    assert {language_of(path.name, path.read_text("utf-8")) for path in folder.glob("*.py")} == {"python"}
