"""Files of HTML: main text or all that is visible, and what a page says of itself."""

from __future__ import annotations

import gzip
from pathlib import Path

from tests.data.sources.html.page import PAGE, PARAGRAPH

from millrace.data.sources import files
from millrace.data.sources.records import Malformed, Options, Record


def read(path: Path, **options: object) -> list[Record | Malformed]:
    parts = files.plan([str(path)], Options(**options))  # type: ignore[arg-type]
    found = [item for part in parts for item in files.read(part)]
    return [item for item in found if isinstance(item, Record | Malformed)]


def test_a_page_gives_its_main_text_its_title_language_and_address(tmp_path: Path) -> None:
    (tmp_path / "a.html.gz").write_bytes(gzip.compress(PAGE.encode()))
    (record,) = read(tmp_path / "*", default_license="CC0-1.0")
    assert isinstance(record, Record)
    assert record.text.split("\n\n")[:2] == ["Floods of the valley", PARAGRAPH.strip()]
    assert "a  b\n c" in record.text
    assert not any(word in record.text for word in ("Home", "track", "Imprint", "color"))
    assert record.metadata == {
        "title": "Floods of the valley",
        "language": "en-GB",
        "url": "https://example.org/floods",
        "license": "CC0-1.0",
    }
    assert (record.locator, record.key, record.lang) == ("", "", "en")


def test_all_that_is_visible_can_be_asked_for_and_the_pages_own_language(tmp_path: Path) -> None:
    (tmp_path / "a.xhtml").write_text(PAGE)
    options = files.DEFAULTS.columns.__class__(language="language")
    (record,) = read(tmp_path / "a.xhtml", html="all", columns=options)
    assert isinstance(record, Record)
    assert all(word in record.text for word in ("All news", "The river", "Imprint"))
    assert "track" not in record.text
    assert record.lang == "en-GB"


def test_a_page_without_text_is_empty_and_no_fault(tmp_path: Path) -> None:
    (tmp_path / "a.htm").write_text("<html><script>var a = 1</script><img src=a.png></html>")
    (item,) = read(tmp_path / "a.htm")
    assert isinstance(item, Malformed)
    assert (item.rule, item.problem) == ("empty", "got no text")
