"""What README.md says is true of the tree."""

from __future__ import annotations

import runpy
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent


def test_every_file_stands_in_the_readme_in_one_line() -> None:
    """The list of files is that of the tree; `make readme` writes it."""
    listed = runpy.run_path(str(ROOT / "docs" / "file_list.py"))
    assert listed["section"]() in (ROOT / "README.md").read_text(encoding="utf-8")


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
