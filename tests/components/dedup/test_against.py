"""A duplicate of a document in an earlier corpus is dropped, and its decision names that document."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.components.dedup.corpora import decisions_of, kept, text, write_corpus
from tests.conftest import RunComponent

from millrace.data.documents.shards import document_id


def near(base: str) -> str:
    return " ".join(["changed", *base.split()[1:]])


@pytest.fixture
def earlier(run_component: RunComponent, tmp_path: Path) -> dict[str, Path]:
    """Signatures of two corpora: ``old`` has texts 0 and 1, and a short copy of 1; ``new`` has text 2."""
    old = [{"uri": "old0", "text": text(0)}, {"uri": "copy", "text": near(text(1))[:-8]}]
    rows: dict[str, list[dict[str, Any]]] = {
        "old": [*old, {"uri": "old1", "text": text(1)}],
        "new": [{"uri": "new2", "text": text(2)}],
    }
    made = {}
    for label, part in rows.items():
        part = [{**row, "doc_id": document_id(row["uri"], "")} for row in part]
        inputs = {"documents": write_corpus(tmp_path / label, part)}
        made[label] = run_component("dedup", {"url": True}, inputs).outputs["signatures"]
    return made


def test_copies_of_earlier_documents_go(
    run_component: RunComponent, tmp_path: Path, earlier: dict[str, Path]
) -> None:
    """The same, near and by address, though longer; the evidence names the corpus and the document that stayed there."""
    rows: list[str | dict[str, str]] = [
        text(0) + "\n" * 99,
        near(text(2)) + " more words at its end",
        near(text(1))[:-8],
        {"uri": "old1", "text": text(4)},
        text(5),
        text(5) + " ",
    ]
    documents = write_corpus(tmp_path / "now", rows, 2)
    done = run_component("dedup", {"url": True}, {"documents": documents, "against": earlier})
    assert kept(done.outputs["documents"]) == ["file5"]
    found = decisions_of(done.outputs["decisions"])
    told = [found[document_id(str(i), "")] for i in range(5)]
    assert [row["rule"] for row in told] == ["exact", "near", "exact", "url", "exact"]
    assert [row["evidence"].get("against") for row in told] == ["old", "new", "old", "old", None]
    stands = ["old0", "new2", "old1", "old1", "file5"]
    assert [row["evidence"]["survivor_uri"] for row in told] == stands
    ids = [document_id(uri, "") for uri in stands[:4]]
    assert [row["evidence"]["survivor"] for row in told[:4]] == ids
    assert done.metrics["dropped_against"] == 4
    alone = run_component("dedup", {"url": True}, {"documents": documents})
    assert kept(alone.outputs["documents"]) == ["file0", "file1", "file2", "old1", "file5"]


def test_earlier_corpora_chain(run_component: RunComponent, tmp_path: Path, earlier: dict[str, Path]) -> None:
    """Signatures of a corpus that was compared know what stood for its copies, so a third names the first."""
    second = write_corpus(tmp_path / "second", [{"uri": "second", "text": near(text(0))}, text(7)])
    middle = run_component("dedup", {}, {"documents": second, "against": {"old": earlier["old"]}})
    third = write_corpus(tmp_path / "third", [near(text(0)), text(8)])
    inputs = {"documents": third, "against": {"middle": middle.outputs["signatures"]}}
    found = decisions_of(run_component("dedup", {}, inputs).outputs["decisions"])
    evidence = found[document_id("0", "")]["evidence"]
    assert (evidence["against"], evidence["survivor_uri"]) == ("middle", "old0")
