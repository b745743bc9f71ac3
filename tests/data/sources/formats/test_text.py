"""Plain text: a file is a document; what is none says why."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest
from tests.data.sources.reading import read

from millrace.data.sources.bytes.streams import Peeked
from millrace.data.sources.formats import text
from millrace.data.sources.records import Malformed, Options, Record, Where


@pytest.mark.parametrize(
    ("name", "lang"), [("a.txt", "xx"), ("a.md", "xx"), ("a.rst", "xx"), ("a.py", "python")]
)
def test_a_file_is_its_text_but_for_line_ends_in_its_language_under_its_licence(
    tmp_path: Path, name: str, lang: str
) -> None:
    content = "Größe\r\n\n  and more \n"
    (tmp_path / name).write_bytes(content.encode())
    (found,) = read(tmp_path / name, default_language="xx", default_license="MIT")
    assert isinstance(found, Record)
    assert (found.text, found.locator, found.key) == (content.replace("\r\n", "\n"), "", "")
    assert (found.lang, found.metadata) == (lang, {"license": "MIT"})


@pytest.mark.parametrize(
    ("content", "rule", "locator", "problem"),
    [
        (b"ab\0c", "malformed", "2", "got a null character"),
        (b"", "malformed", "0", "got an empty file"),
        (b" \n\t", "empty", "0", "got no text"),
        (b"x" * 11, "malformed", "0", "got more than max_document_bytes = 10 bytes"),
    ],
)
def test_what_is_no_text_says_why_and_where(
    tmp_path: Path, content: bytes, rule: str, locator: str, problem: str
) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    (found,) = read(tmp_path / "a.txt", max_document_bytes=10)
    assert isinstance(found, Malformed)
    assert (found.rule, found.locator, problem in found.problem) == (rule, locator, True)


def test_a_damaged_file_gives_what_comes_before_the_damage(tmp_path: Path) -> None:
    whole = "\n".join(str(number) for number in range(100_000))
    packed = gzip.compress(whole.encode())
    (tmp_path / "a.txt.gz").write_bytes(packed[: len(packed) // 2])
    damage, record = read(tmp_path / "a.txt.gz")
    assert isinstance(damage, Malformed)
    assert isinstance(record, Record)
    assert whole.startswith(record.text)
    assert len(record.text) > 1000


def test_no_more_is_read_than_a_document_may_have() -> None:
    stream = Peeked(io.BytesIO(b"x" * (1 << 24)))
    data, damage = text.contents(stream, Where("a.txt", "a.txt", 1 << 24), Options(max_document_bytes=100))
    assert data is None
    assert isinstance(damage, Malformed)
    assert damage.size_bytes == 1 << 24
