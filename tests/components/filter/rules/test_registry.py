"""The rules over language, length, lists, URLs, Unicode and personal data as stages run them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from millrace.components import registry
from millrace.components.contract import ComponentError
from millrace.components.filter.rules.language import CODES
from millrace.data.documents.shards import (
    document_id,
    documents_table,
    read_shards,
    shard_name,
    write_shard,
)
from millrace.data.filters.language import languages

ENGLISH = "All human beings are born free and equal in dignity and rights."
GERMAN = "Alle Menschen sind frei und gleich an Würde und Rechten geboren."


def write(folder: Path, texts: list[str], uris: list[str] | None = None, field: str = "url") -> Path:
    folder.mkdir()
    uris = uris or [f"made://{index}" for index in range(len(texts))]
    rows = [
        {
            "doc_id": document_id(str(index), ""),
            "text": text,
            "source": "web",
            "lang": None,
            "uri": uri,
            "locator": "",
            "metadata": json.dumps({field: uri}),
        }
        for index, (text, uri) in enumerate(zip(texts, uris, strict=True))
    ]
    write_shard(folder / shard_name(0), documents_table(rows))
    return folder


def rows(folder: Path) -> list[dict[str, Any]]:
    return pa.concat_tables(read_shards(folder)).to_pylist()


def run(run_component: Any, folder: Path, *rules: dict[str, Any]) -> Any:
    config = {"rules": {"*": list(rules)}, "max_drop_fraction": 1.0}
    return run_component("filter", config, {"documents": folder})


def test_languages_are_set_and_others_than_those_allowed_go(run_component: Any, tmp_path: Path) -> None:
    folder = write(tmp_path / "in", [ENGLISH, GERMAN, "!"])
    result = run(run_component, folder, {"rule": "language", "allowed": ["de", "und"]})
    assert [(row["text"], row["lang"]) for row in rows(result.outputs["documents"])] == [
        (GERMAN, "de"),
        ("!", "und"),
    ]
    dropped = rows(result.outputs["decisions"])[0]
    assert dropped["rule"] == "language.max_disallowed"
    assert json.loads(dropped["evidence"]) == {"value": 1, "threshold": 0, "found": "en"}
    sure = run(run_component, folder, {"rule": "language", "min_confidence": 0.5, "set_lang": False})
    assert [row["lang"] for row in rows(sure.outputs["documents"])] == [None, None]


def test_the_codes_that_a_spec_may_name_are_those_of_the_model() -> None:
    assert tuple(sorted(CODES)) == languages()


def test_urls_of_either_column_are_looked_up(run_component: Any, tmp_path: Path) -> None:
    uris = ["https://www.bad.com/x", "https://good.org/a/bad-words", "https://good.org/fine"]
    folder = write(tmp_path / "in", ["one", "two", "three"], uris)
    blocked = tmp_path / "domains.txt"
    blocked.write_text("# blocked\nbad.com\n")
    lists = {"rule": "url", "domains_file": str(blocked), "words": ["words"]}
    for rule in (lists, {**lists, "metadata_field": "url"}):
        result = run(run_component, folder, rule)
        assert [row["text"] for row in rows(result.outputs["documents"])] == ["three"]
        assert [row["rule"] for row in rows(result.outputs["decisions"])] == [
            "url.max_blocked_domains",
            "url.max_blocked_words",
            "passed",
        ]
    missing = run(run_component, folder, {**lists, "metadata_field": "no such key"})
    assert len(rows(missing.outputs["documents"])) == 3


def test_list_files_are_part_of_a_stages_identity(tmp_path: Path) -> None:
    component = registry.get("filter")
    path = tmp_path / "words.txt"
    path.write_text("bad\n")
    rule = {"rule": "words", "words_file": str(path)}
    config = component.config.model_validate({"rules": {"web": [rule]}})
    assert component.fingerprint
    before = component.fingerprint(config)
    path.write_text("bad\nworse\n")
    assert component.fingerprint(config) != before
    assert component.fingerprint(component.config.model_validate({"rules": {}})) == []


def test_a_list_that_cannot_be_is_refused(run_component: Any, tmp_path: Path) -> None:
    folder = write(tmp_path / "in", [ENGLISH])
    with pytest.raises(ComponentError, match="expected a UTF-8 file"):
        run(run_component, folder, {"rule": "words", "words_file": str(tmp_path / "missing")})


def test_words_and_lengths_are_bounded(run_component: Any, tmp_path: Path) -> None:
    folder = write(tmp_path / "in", ["a fine text", "a really bad text", "x"])
    rules: list[dict[str, Any]] = [
        {"rule": "length", "min_words": 2, "max_bytes": 100},
        {"rule": "words", "words": ["Really, bad"]},
    ]
    result = run(run_component, folder, *rules)
    assert [row["rule"] for row in rows(result.outputs["decisions"])] == [
        "passed",
        "words.max_listed_count",
        "length.min_words",
    ]


def test_personal_data_and_unicode_are_edits_with_counts(run_component: Any, tmp_path: Path) -> None:
    folder = write(tmp_path / "in", ["mail a@b.org\r\nor c@d.org", "fine", "x@y.org " * 9])
    result = run(run_component, folder, {"rule": "unicode"}, {"rule": "pii", "max_found": 5})
    assert [row["text"] for row in rows(result.outputs["documents"])] == ["mail <EMAIL>\nor <EMAIL>", "fine"]
    edit, keep, drop = rows(result.outputs["decisions"])
    assert [row["action"] for row in (edit, keep, drop)] == ["edit", "keep", "drop"]
    assert (drop["rule"], drop["score"]) == ("pii.max_found", 9)
    assert "email" in edit["evidence"]
    assert "line_ends" in edit["evidence"]
    with pytest.raises(ComponentError, match="itself found as personal data"):
        run(run_component, folder, {"rule": "pii", "replacements": {"email": "a@b.org"}})


def test_rules_without_bounds_let_everything_pass(run_component: Any, tmp_path: Path) -> None:
    folder = write(tmp_path / "in", [ENGLISH, GERMAN])
    result = run(run_component, folder, {"rule": "length"}, {"rule": "language", "max_disallowed": None})
    assert [row["lang"] for row in rows(result.outputs["documents"])] == ["en", "de"]
    assert [row["rule"] for row in rows(result.outputs["decisions"])] == ["passed", "passed"]
