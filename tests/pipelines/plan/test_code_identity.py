"""Code identity: edits that cannot change the bytes change nothing, all others are found and named."""

from __future__ import annotations

import ast
import random
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.components import registry
from millrace.pipelines.plan import code_identity
from millrace.pipelines.plan.code_identity import CodeIndex, analyse, changes

MODULE = '''\
"""A module."""

import os
from ..data import documents
from .contract import Config, Field

LIMIT = 3
"""The limit."""


class Options(Config):
    """Options."""

    size: int = Field(3, ge=1, description="How many.")


def count(values: list[int]) -> int:
    """Counts."""
    # all of them
    total = 0
    for value in values:
        total += value * LIMIT
    return total
'''


def digests(source: str) -> dict[str, str]:
    return dict(analyse(textwrap.dedent(source).encode(), "components.some").definitions)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    # all of them\n", ""),
        ('"""Counts."""', '"""Counts, in other words.\n\n    Args:\n        values: What.\n    """'),
        ('"""A module."""\n', ""),
        ('"""The limit."""', '"""The most that counts."""'),
        ('description="How many."', "description='Another text'"),
        ('"""Options."""\n\n    ', ""),
        ("total += value * LIMIT", "total += (value  *\n            LIMIT)"),
        ("LIMIT = 3", "LIMIT = 0x3"),
        ("\n\n\ndef", "\n\ndef"),
    ],
)
def test_comments_docstrings_descriptions_and_formatting_change_nothing(old: str, new: str) -> None:
    assert old in MODULE
    assert digests(MODULE.replace(old, new)) == digests(MODULE)


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("value * LIMIT", "value + LIMIT", "function count"),
        ("total = 0", "total = 0.0", "function count"),
        ("LIMIT = 3", "LIMIT = 4", "name LIMIT"),
        ("ge=1", "ge=2", "class Options"),
        ("size: int", "size: float", "class Options"),
        ("import os", "import os.path", "statements"),
        ("return total", "return", "function count"),
        ("total += value", "total -= value", "function count"),
        ('"""Counts."""', 'f"""Counts."""', "function count"),
    ],
)  # fmt: skip
def test_an_edit_that_can_change_bytes_is_found_in_the_definition_where_it_is(
    old: str, new: str, name: str
) -> None:
    assert old in MODULE
    before, after = digests(MODULE), digests(MODULE.replace(old, new))
    assert {label for label in before if before[label] != after.get(label)} == {name}


@given(st.randoms(use_true_random=False))
def test_reformatting_by_the_parser_itself_changes_nothing(order: random.Random) -> None:
    source = Path(str(code_identity.__file__)).read_text()
    lines = [
        line + "  # noise" * (order.random() < 0.3 and line.rstrip().endswith(":"))
        for line in MODULE.splitlines()
    ]
    assert digests("\n".join(lines)) == digests(MODULE)
    assert digests(ast.unparse(ast.parse(source))) == digests(source)


def test_imports_are_found_wherever_they_are_and_however_they_are_written() -> None:
    source = """
    import millrace.data.tokenizer.tokenizer, os
    from . import shards
    from .. import model
    from ..data.filters import gopher
    from millrace.data import documents as d
    from os import path
    def run():
        from ..model.config import ModelConfig
        if True:
            import millrace.model.losses.cross_entropy as loss
    """
    found = set(analyse(textwrap.dedent(source).encode(), "components.some").imports)
    expected = {
        "data.tokenizer.tokenizer",
        "components.shards",
        "model",
        "data.filters.gopher",
        "data.documents",
    }
    assert expected | {"model.config", "model.losses.cross_entropy"} <= found
    assert not any(name.startswith("os") for name in found)


def test_a_package_counts_imports_from_itself() -> None:
    found = analyse(
        b"from .gopher import rule\nfrom ..documents import x", "data.filters", is_package=True
    ).imports
    assert {"data.filters.gopher", "data.documents"} <= set(found)


def test_changes_say_what_was_added_removed_and_changed() -> None:
    old = {"data.a": {"function f": "1", "function g": "2", "name X": "3"}, "data.b": {}}
    new = {"data.a": {"function f": "9", "function h": "2", "name X": "3"}, "data.c": {}}
    assert changes(old, new) == [
        "data/a.py: function f changed",
        "data/a.py: function g removed",
        "data/a.py: function h added",
        "data/b.py is no longer imported",
        "data/c.py is newly imported",
    ]
    assert changes(old, old) == []


def test_another_process_finds_the_same_digest(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from millrace.pipelines.plan.code_identity import CodeIndex;"
        "print(CodeIndex(pathlib.Path(sys.argv[1])).of('components.ingest.stage').digest)"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / name)],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
        ).stdout.decode()
        for name, seed in (("a", "1"), ("b", "2"))
    ]
    assert runs == [CodeIndex(tmp_path / "c").of("components.ingest.stage").digest + "\n"] * 2


@pytest.mark.parametrize("damage", ["none", "gone", "empty", "truncated", "flipped", "json", "folder"])
def test_a_lost_or_damaged_cache_only_costs_time(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "cache"
    index = CodeIndex(file)
    expected = index.of("components.ingest.stage")
    index.save()
    data = file.read_bytes()
    file.unlink()
    broken = {
        "empty": b"",
        "truncated": data[: len(data) // 2],
        "flipped": data.replace(b"function", b"functiom", 1),
        "json": b'{"format": 1, "modules": [3]}',
        "none": data,
    }
    if damage == "folder":
        file.mkdir()
    elif damage in broken:
        file.write_bytes(broken[damage])
    again = CodeIndex(file)
    assert again.of("components.ingest.stage") == expected
    assert bool(again._known) == (damage == "none")
    again.save()


def test_a_cache_that_cannot_be_written_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    index = CodeIndex(tmp_path / "file" / "cache")
    index.of("components.ingest.stage")
    index.save()


def test_an_unknown_module_contributes_nothing() -> None:
    assert code_identity.module_file("pipelines.plan.plan") is None
    assert code_identity.module_file("data.nothing") is None
    assert CodeIndex().of("data.nothing").modules == {}


@pytest.mark.parametrize("name", sorted(registry.COMPONENTS))
def test_every_component_is_part_of_its_own_identity(name: str) -> None:
    modules = registry.modules_of(name)
    assert {*modules, "components.contract"} <= CodeIndex().of(*modules).modules.keys()
