"""Writes docs/files.md, the list of all files, from the first line of every module's docstring: ``make files``.

A test calls ``page`` too, so the list is never behind the code.
"""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("pipelines", "components", "data", "model", "benchmarks")
PAGE = ROOT / "docs" / "files.md"


def page() -> str:
    """The page in Markdown: each folder with what is in it, then its files, one line each."""
    lines = ["# Every file in one line", "", "`make files` writes this page from the files themselves."]
    folders = sorted({path.parent for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")})
    for folder in folders:
        lines += ["", f"## {folder.relative_to(ROOT).as_posix()}/"]
        if (said := _first_line(folder / "__init__.py")) is not None:
            lines += [said, ""]
        for path in sorted(folder.glob("*.py")):
            if path.name != "__init__.py" and (said := _first_line(path)) is not None:
                lines.append(f"- `{path.name}`: {_uncapped(said)}")
    return "\n".join(lines) + "\n"


def _first_line(path: Path) -> str | None:
    """The first line of a module's docstring, or None where there is no module or it says nothing."""
    if not path.exists():
        return None
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    return docstring.splitlines()[0].replace("``", "`") if docstring else None


def _uncapped(line: str) -> str:
    return line.rstrip(".")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
