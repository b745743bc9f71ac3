"""Writes the list of files in README.md from the first line of every module's docstring: ``make readme``.

A test calls ``section`` too, so the list is never behind the code.
"""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("pipelines", "components", "data", "model", "benchmarks")
START, END = "<!-- files -->\n", "<!-- end of files -->\n"


def section() -> str:
    """The list in Markdown, one line per file."""
    lines: list[str] = []
    for folder in FOLDERS:
        lines += [f"\n**{folder}/**\n"]
        for path in sorted((ROOT / folder).rglob("*.py"), key=lambda path: (len(path.parts), path)):
            docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
            if docstring:
                lines.append(
                    f"- `{path.relative_to(ROOT).as_posix()}`: {_uncapped(docstring.splitlines()[0])}"
                )
    return "\n".join(lines) + "\n\n"


def _uncapped(line: str) -> str:
    return line.replace("``", "`").rstrip(".")


def write() -> None:
    """Replaces the list between the two marks."""
    readme = ROOT / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(START)
    _, _, after = rest.partition(END)
    readme.write_text(before + START + section() + END + after, encoding="utf-8")


if __name__ == "__main__":
    write()
