"""A newcomer's three tasks, done in a copy of the code as CONTRIBUTING.md says: a filter, a file format, a component.

Each touches three files at most, not counting the line of a new folder's ``__init__.py``, and then runs through the
command line on a few documents.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.sandbox import CHECKOUT, Sandbox

from millrace.data.documents.shards import read_shards

EMOJIS = '''"""The rule ``emojis``: drops texts with many emojis."""

from __future__ import annotations

from typing import Literal

from millrace.components.filter.rule import Count, Outcome, Rows, Rule


class Emojis(Rule):
    """Bounds the number of emojis in a text; null switches the bound off."""

    rule: Literal["emojis"]
    max_emojis: Count | None = 2

    def apply(self, rows: Rows) -> Outcome:
        """Counts emojis."""
        import numpy as np
        import pyarrow.compute as pc

        from millrace.data.text.batch import to_arrow

        counts = pc.count_substring_regex(to_arrow(rows.batch), pattern=r"[\\x{1F300}-\\x{1FAFF}]")
        return Outcome({"emojis": np.asarray(counts, np.float64)})
'''

EPUB = '''"""EPUB: a book's pages of XHTML are documents, in the order of the archive."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from millrace.data.sources.bytes.archives import zip_members
from millrace.data.sources.html.pages import html_item
from millrace.data.sources.records import Item, Malformed, Options, Where

from .text import contents


def read(stream: Any, where: Where, options: Options) -> Iterator[Item]:
    """The text of each page; the locator is the page's name in the book."""
    for member in zip_members(stream, where, options):
        if isinstance(member, Malformed):
            yield member
            continue
        page, opened = member
        if page.name.endswith((".xhtml", ".html", ".htm")):
            content, damage = contents(opened, page, options)
            if damage is not None:
                yield damage
            if content is not None:
                yield html_item(content, where, options, locator=page.uri.partition("!/")[2])
'''

EPUB_ENTRY = """@_entry("epub", ".epub", marks=((30, b"mimetypeapplication/epub+zip"),), needs_seek=True)
def _epub() -> Reader:
    from .epub import read

    return read


SUFFIXES: Mapping"""

COUNT_CONFIG = '''"""Configuration and ports of ``count_words``."""

from __future__ import annotations

from pydantic import Field

from millrace.components.contract import Component, Config, Port


class CountConfig(Config):
    """Which words count."""

    min_characters: int = Field(1, ge=1, description="Shorter words do not count.")


COMPONENT = Component(
    name="count_words",
    summary="Count the words of documents.",
    config=CountConfig,
    inputs={"documents": Port("documents", "Whose words to count.")},
    outputs={"report": Port("report", "The number of words.")},
    run="millrace.components.count_words.stage:run",
)
'''

COUNT_STAGE = '''"""Counts the words of documents."""

from __future__ import annotations

import json

from millrace.components.contract import Context, Inputs
from millrace.data.documents.shards import read_shards

from .config import CountConfig


def run(context: Context, config: CountConfig, inputs: Inputs) -> None:
    """Counts words between white space."""
    words = 0
    for table in read_shards(inputs.one("documents").path, ["text"]):
        for text in table["text"].to_pylist():
            words += sum(len(word) >= config.min_characters for word in text.split())
    (context.output("report") / "report.json").write_text(json.dumps({"words": words}))
    context.metric("words", words)
'''


class House(Sandbox):
    """A sandbox in which the libraries under ``data`` are a copy as well, and which counts the files that are touched."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, {})
        self.code, self.touched = self.site / "millrace", set[str]()
        (self.code / "data").unlink()
        shutil.copytree(CHECKOUT / "data", self.code / "data")

    def add(self, path: str, text: str) -> None:
        """Adds a file."""
        self.touched.add(path)
        file = self.code / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)

    def change(self, path: str, old: str, new: str) -> None:
        """Replaces a text that stands once in a file."""
        self.touched.add(path)
        file = self.code / path
        text = file.read_text()
        assert text.count(old) == 1
        file.write_text(text.replace(old, new))

    def results(self, stages: dict[str, Any]) -> dict[str, Path]:
        """Runs a spec; returns the folder of each output, by ``stage.port``."""
        self.write(stages)
        ran = self.run()["stages"]
        return {
            f"{stage}.{port}": self.store / "artifacts" / digest[:2] / digest
            for stage, own in ran.items()
            for port, digest in own["outputs"].items()
        }


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def rows(folder: Path) -> list[dict[str, Any]]:
    return pa.concat_tables(read_shards(folder)).to_pylist()


def ingest(paths: str) -> dict[str, Any]:
    return {"uses": "ingest", "with": {"sources": {"mine": {"type": "files", "paths": paths}}}}


def write_texts(house: House, *texts: str) -> None:
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    (house.folder / "a.jsonl").write_text(lines)


def test_a_filter_that_drops_documents_with_many_emojis_is_a_file_and_its_name(house: House) -> None:
    registry = "components/filter/rules/registry.py"
    house.add("components/filter/rules/emojis.py", EMOJIS)
    house.change(registry, "from .language", "from .emojis import Emojis\nfrom .language")
    house.change(registry, "    | Words,", "    | Words\n    | Emojis,")
    write_texts(house, "plain words", "so much fun 🎉🎉🎉🎉", "fine 🎉")
    rule = {"rule": "emojis", "max_emojis": 3}
    found = house.results(
        {
            "ingest": ingest("*.jsonl"),
            "filter": {
                "uses": "filter",
                "inputs": {"documents": "ingest.documents"},
                "with": {"rules": {"*": [rule]}},
            },
        }
    )
    assert [row["text"] for row in rows(found["filter.documents"])] == ["plain words", "fine 🎉"]
    [decision] = [row for row in rows(found["filter.decisions"]) if row["action"] == "drop"]
    assert (decision["rule"], decision["score"]) == ("emojis.max_emojis", 4)
    assert json.loads(decision["evidence"]) == {"threshold": 3, "value": 4}
    assert len(house.touched) == 2


def write_book(path: Path, chapters: dict[str, str]) -> None:
    """An EPUB: an archive whose first member says so, with a page of XHTML for each chapter."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book:
        book.writestr("mimetype", "application/epub+zip", zipfile.ZIP_STORED)
        book.writestr("META-INF/container.xml", "<container/>")
        for name, text in chapters.items():
            page = f"<title>{name}</title></head><body><h1>{name}</h1><p>{text}</p></body>"
            book.writestr(
                f"OEBPS/{name}.xhtml", f"<html xmlns='http://www.w3.org/1999/xhtml'><head>{page}</html>"
            )


def test_a_format_for_books_is_a_module_and_its_entry(house: House) -> None:
    house.add("data/sources/formats/epub.py", EPUB)
    house.change("data/sources/formats/registry.py", "\nSUFFIXES: Mapping", EPUB_ENTRY)
    chapters = {
        "one": "The miller rose before the sun and opened the gate of the pond.",
        "two": "By noon the wheel had turned a thousand times and the flour was white.",
    }
    write_book(house.folder / "book.epub", chapters)
    write_book(house.folder / "book.of.another.name", {"one": "It is read when the spec says its format."})
    found = house.results(
        {"ingest": ingest("*.epub"), "again": {"uses": "ingest", "with": {"sources": {"named": named()}}}}
    )
    documents = rows(found["ingest.documents"])
    assert [row["locator"] for row in documents] == ["OEBPS/one.xhtml", "OEBPS/two.xhtml"]
    assert [json.loads(row["metadata"])["title"] for row in documents] == ["one", "two"]
    assert all(text in row["text"] for row, text in zip(documents, chapters.values(), strict=True))
    assert len(rows(found["again.documents"])) == 1
    assert len(house.touched) == 2


def named() -> dict[str, Any]:
    return {"type": "files", "paths": "book.of*", "format": "epub"}


def test_a_component_is_its_configuration_its_work_and_its_name(house: House) -> None:
    house.add("components/count_words/__init__.py", '"""``count_words``: counts the words of documents."""\n')
    house.add("components/count_words/config.py", COUNT_CONFIG)
    house.add("components/count_words/stage.py", COUNT_STAGE)
    house.change(
        "components/registry.py", '        "export",\n', '        "export",\n        "count_words",\n'
    )
    write_texts(house, "a stone and a wheel", "one more")
    count = {
        "uses": "count_words",
        "inputs": {"documents": "ingest.documents"},
        "with": {"min_characters": 2},
    }
    found = house.results({"ingest": ingest("*.jsonl"), "count": count})
    assert json.loads((found["count.report"] / "report.json").read_text()) == {"words": 5}
    assert "Shorter words do not count." in house.call("components", "count_words").stdout
    assert len([path for path in house.touched if not path.endswith("__init__.py")]) == 3
