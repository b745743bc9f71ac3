"""Filtering by source: bounds, decisions with value and threshold, and failing when too much goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from millrace.components import registry
from millrace.components.contract import ComponentError
from millrace.components.filter.rules.heuristics.code import CodeRules
from millrace.components.filter.rules.heuristics.gopher_quality import GopherQuality
from millrace.components.filter.rules.heuristics.gopher_repetition import GopherRepetition
from millrace.components.filter.stage import bounds_of, measure
from millrace.data.documents.shards import (
    document_id,
    documents_table,
    read_shards,
    shard_name,
    write_shard,
)
from millrace.data.text.batch import from_texts

PROSE = "The house of the miller stands beside the river and that is where people have bread to buy. "
CODE = "def add(a, b):\n    return a + b\n"


def write(folder: Path, shards: list[list[tuple[str, str]]]) -> Path:
    """Shards of (source, text) pairs."""
    folder.mkdir()
    count = 0
    for index, shard in enumerate(shards):
        rows = []
        for source, text in shard:
            uri = f"made://{count}"
            row = {"doc_id": document_id(uri, ""), "text": text, "source": source, "lang": "en", "uri": uri}
            rows.append(row | {"locator": "", "metadata": "{}"})
            count += 1
        write_shard(folder / shard_name(index), documents_table(rows))
    return folder


def rows(folder: Path) -> list[dict[str, Any]]:
    return pa.concat_tables(read_shards(folder)).to_pylist()


def test_each_source_has_its_own_rules_and_order_is_kept(run_component: Any, tmp_path: Path) -> None:
    long_line = "x = " + "1 + " * 400
    documents = write(
        tmp_path / "in",
        [[("code", CODE), ("docs", "too short")], [("code", long_line), ("licences", "short")], []],
    )
    config = {"rules": {"code": [{"rule": "code"}], "docs": [{"rule": "gopher_quality"}]}}
    result = run_component("filter", config, {"documents": documents})
    assert [row["text"] for row in rows(result.outputs["documents"])] == [CODE, "short"]
    decisions = rows(result.outputs["decisions"])
    assert [row["action"] for row in decisions] == ["keep", "drop", "drop", "keep"]
    assert decisions[1]["rule"] == "gopher_quality.min_words"
    assert decisions[1]["score"] == 2
    evidence = json.loads(decisions[2]["evidence"])
    assert evidence["threshold"] == 100
    assert evidence["also"] == ["code.max_longest_line_characters"]
    assert result.metrics["dropped.gopher_quality.min_words"] == 1


def test_bounds_are_moved_and_switched_off_in_the_spec(run_component: Any, tmp_path: Path) -> None:
    documents = write(tmp_path / "in", [[("docs", "too short of the"), ("docs", PROSE * 3)]])
    for rule, kept in (
        ({"min_words": None}, 1),
        ({"min_words": 4}, 1),
        ({"min_words": 4, "max_words": 10}, 1),
    ):
        config = {"rules": {"docs": [{"rule": "gopher_quality", **rule}]}}
        result = run_component("filter", config, {"documents": documents})
        assert result.metrics["documents_out"] >= kept


def test_every_bound_names_a_measured_value_and_prose_passes_gopher() -> None:
    batch = from_texts([PROSE + "".join(f"Line {i} of the text and so on, {i * i}.\n" for i in range(40))])
    for rule in (
        GopherQuality(rule="gopher_quality"),
        GopherRepetition(rule="gopher_repetition"),
        CodeRules(rule="code"),
    ):
        values = measure(rule, batch)
        assert {bound.value for bound in bounds_of(rule)} <= set(values)
    assert not any(bound.broken(measure(rule, batch)[bound.value]).any() for bound in bounds_of(rule))


def test_a_corpus_that_filters_to_nothing_fails_and_names_the_rule(
    run_component: Any, tmp_path: Path
) -> None:
    documents = write(tmp_path / "in", [[("docs", "too short")] * 3])
    config = {"rules": {"docs": [{"rule": "gopher_quality"}]}, "max_drop_fraction": 1.0}
    with pytest.raises(
        ComponentError, match=r"3 of 3 documents.*gopher_quality\.min_words dropped most \(3\)"
    ):
        run_component("filter", config, {"documents": documents})


def test_rules_for_a_source_that_does_not_come_in_fail(run_component: Any, tmp_path: Path) -> None:
    documents = write(tmp_path / "in", [[("docs", PROSE)]])
    with pytest.raises(ComponentError, match=r"got rules for source 'doc', expected .*: docs"):
        run_component("filter", {"rules": {"doc": [{"rule": "code"}]}}, {"documents": documents})


def test_a_typo_in_a_threshold_is_refused() -> None:
    with pytest.raises(ValidationError, match="min_wrods"):
        registry.get("filter").config.model_validate(
            {"rules": {"docs": [{"rule": "gopher_quality", "min_wrods": 1}]}}
        )


C4_TEXT = "Here is a line to keep.\nToo short.\n" + "One more that stays as it is.\n" * 4


def test_an_edited_document_goes_on_with_its_new_text_and_says_what_was_cut(
    run_component: Any, tmp_path: Path
) -> None:
    texts = [("web", C4_TEXT), ("docs", "as it is"), ("web", "no line that stays"), ("web", C4_TEXT.upper())]
    documents = write(tmp_path / "in", [texts])
    config = {"rules": {"web": [{"rule": "c4"}]}}
    result = run_component("filter", config, {"documents": documents})
    left = rows(result.outputs["documents"])
    assert [row["text"].count("\n") for row in left] == [4, 0, 4]
    assert [row["source"] for row in left] == ["web", "docs", "web"]
    decisions = rows(result.outputs["decisions"])
    assert [row["action"] for row in decisions] == ["edit", "keep", "drop", "edit"]
    assert decisions[0]["rule"] == "c4"
    assert json.loads(decisions[0]["evidence"]) == {"edited": {"c4.lines": 1}}
    assert decisions[0]["bytes_before"] == len(C4_TEXT)
    assert decisions[0]["bytes_after"] == len(left[0]["text"])
    assert decisions[2]["rule"] == "c4.min_sentences"


def test_later_rules_see_the_text_as_earlier_ones_left_it(run_component: Any, tmp_path: Path) -> None:
    documents = write(tmp_path / "in", [[("web", C4_TEXT)]])
    length: dict[str, Any] = {"rule": "gopher_quality", "min_words": 35, "min_mean_word_characters": None}
    for order, kept in (([{"rule": "c4"}, length], 0), ([length, {"rule": "c4"}], 1)):
        config = {"rules": {"*": [{**rule, **OFF.get(rule["rule"], {})} for rule in order]}}
        if kept:
            assert run_component("filter", config, {"documents": documents}).metrics["documents_out"] == 1
        else:
            with pytest.raises(ComponentError, match=r"gopher_quality\.min_words"):
                run_component("filter", config, {"documents": documents})


OFF: dict[str, dict[str, Any]] = {"gopher_quality": {"min_stop_words": None}}


def test_documents_do_not_depend_on_how_they_are_cut_into_shards(run_component: Any, tmp_path: Path) -> None:
    texts = [
        ("web" if index % 3 else "docs", PROSE * (1 + index % 7) + f"It is {index}.") for index in range(40)
    ]
    config: dict[str, Any] = {
        "rules": {"*": [{"rule": "gopher_quality"}, {"rule": "fineweb"}, {"rule": "c4"}]}
    }
    found = []
    for name, shards in (("one", [texts]), ("many", [texts[at : at + 7] for at in range(0, 40, 7)])):
        config["max_drop_fraction"] = 1.0
        result = run_component("filter", config, {"documents": write(tmp_path / name, shards)})
        report = {path.name: path.read_bytes() for path in result.outputs["report"].iterdir()}
        found.append((rows(result.outputs["documents"]), rows(result.outputs["decisions"]), report))
    assert found[0] == found[1]


def test_the_report_has_histograms_and_the_documents_nearest_each_threshold(
    run_component: Any, tmp_path: Path
) -> None:
    texts = [("docs", PROSE * times) for times in range(1, 9)] + [("code", CODE)]
    documents = write(tmp_path / "in", [texts[:5], texts[5:]])
    config = {"rules": {"docs": [{"rule": "gopher_quality"}]}}
    result = run_component("filter", config, {"documents": documents})
    report = json.loads((result.outputs["report"] / "report.json").read_text())["sources"]
    assert report["code"]["bounds"] == []
    bound = report["docs"]["bounds"][0]
    assert bound["bound"] == "gopher_quality.min_words"
    assert (bound["broken"], bound["dropped"]) == (2, 2)
    assert sum(bound["histogram"]["counts"]) == 8
    assert [example["value"] for example in bound["examples"]["dropped"]] == [36, 18]
    assert [example["value"] for example in bound["examples"]["kept"]] == [54, 72, 90]
    page = (result.outputs["report"] / "report.html").read_text()
    assert "gopher_quality.min_words" in page
    assert PROSE[:40] in page


def test_a_document_of_which_nothing_is_left_is_dropped(run_component: Any, tmp_path: Path) -> None:
    documents = write(tmp_path / "in", [[("web", "no end"), ("web", C4_TEXT)]])
    config = {"rules": {"web": [{"rule": "c4", "min_sentences": None}]}}
    result = run_component("filter", config, {"documents": documents})
    assert [row["rule"] for row in rows(result.outputs["decisions"])] == ["c4.nothing_left", "c4"]
