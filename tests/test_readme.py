"""README.md agrees with the tree."""

from __future__ import annotations

import ast
import re
import runpy
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent


def test_the_list_of_files_is_that_of_the_tree() -> None:
    """`make files` writes it."""
    listed = runpy.run_path(str(ROOT / "docs" / "file_list.py"))
    assert (ROOT / "docs" / "files.md").read_text(encoding="utf-8") == listed["page"]()


def test_the_readme_links_every_page_of_the_documentation() -> None:
    """No page of docs/ is left to be found by chance."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [page.name for page in (ROOT / "docs").glob("*.md") if f"(docs/{page.name})" not in readme] == []


def test_the_first_screen_shows_the_two_commands() -> None:
    """Somebody who reads no further has seen how to run and how to test."""
    first = "\n".join((ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:25])
    assert "make run" in first
    assert "make test" in first


def test_the_picture_shows_every_stage() -> None:
    """The graph in the README names each stage of the reference pipeline."""
    picture = (ROOT / "docs" / "pipeline.svg").read_text(encoding="utf-8")
    stages = yaml.safe_load((ROOT / "pipeline.yaml").read_text(encoding="utf-8"))["stages"]
    assert [name for name in stages if f">{name}<" not in picture] == []


PAGES = (
    *sorted((ROOT / "docs").glob("*.md")),
    *(
        ROOT / name
        for name in (
            "README.md",
            "CONTRIBUTING.md",
            "CHANGELOG.md",
            "benchmarks/README.md",
            "Makefile",
            "Dockerfile",
        )
    ),
)
"""Every page that names files of the tree."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_path_that_a_page_names_exists(page: Path) -> None:
    """A path begins with a folder of the tree: `data/text/batch.py`, `components/`; NAME stands for any name."""
    text = page.read_text(encoding="utf-8")
    named = re.findall(
        r"(?<![\w./-])(?:data|components|model|pipelines|tests|benchmarks|docs|src)/[\w./]*[\w/]", text
    )
    assert sorted({path for path in named if "NAME" not in path and not (ROOT / path).exists()}) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_import_of_millrace_that_a_page_shows_works(page: Path) -> None:
    """Readers copy the Python blocks of the documentation."""
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    for node in (node for block in blocks for node in ast.walk(ast.parse(block))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("millrace"):
            exec(ast.unparse(node), {})
