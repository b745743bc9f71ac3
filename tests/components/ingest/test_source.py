"""Fields that sources share reach the readers, and wrong ones are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from millrace.components.ingest.config import IngestConfig
from millrace.components.ingest.source import Limits, limits_of, options_of
from millrace.data.documents.shards import read_shards

ROWS = [
    {
        "body": "eins zwei",
        "key": "a",
        "lang": "de",
        "rights": "MIT",
        "topic": "mills",
        "n": 3,
        "license": "no",
    },
    {"body": "one two", "key": "b", "topic": "rivers"},
]


def source(**fields: Any) -> Any:
    config = IngestConfig.model_validate({"sources": {"x": {"type": "files", "paths": "*.jsonl", **fields}}})
    return config.sources["x"]


def documents(run_component: Any, folder: Path, **fields: Any) -> list[dict[str, Any]]:
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    given = {"type": "files", "paths": str(folder / "a.jsonl"), "text_column": "body", **fields}
    result = run_component("ingest", {"sources": {"x": given}})
    found = pa.concat_tables(read_shards(result.outputs["documents"])).to_pylist()
    return [{**row, "metadata": json.loads(row["metadata"])} for row in found]


def test_columns_of_the_users_own_become_what_the_spec_says(run_component: Any, tmp_path: Path) -> None:
    columns = {"license_column": "rights", "metadata_columns": ["topic", "n"], "language_column": "lang"}
    one, other = documents(run_component, tmp_path, **columns, license="CC0-1.0", language="en")
    assert one["metadata"] == {"license": "MIT", "topic": "mills", "n": 3}
    assert other["metadata"] == {"license": "CC0-1.0", "topic": "rivers"}
    assert [row["lang"] for row in (one, other)] == ["de", "en"]


def test_without_them_the_licence_alone_is_copied(run_component: Any, tmp_path: Path) -> None:
    one, other = documents(run_component, tmp_path)
    assert (one["metadata"], other["metadata"]) == ({"license": "no"}, {})


def test_limits_are_those_of_the_source() -> None:
    assert limits_of(source()) == Limits()
    fields = {"held_out_fraction": 0.1, "sample_fraction": 0.5, "max_documents": 7, "max_bytes": 90}
    assert limits_of(source(**fields, id_column="id")) == Limits(0.1, 0.5, 7, 90, has_own_ids=True)


def test_options_are_those_of_the_source() -> None:
    fields = {"text_column": "t", "id_column": "i", "language_column": "l", "license_column": "c"}
    made = options_of(
        source(**fields, metadata_columns=["m"], max_document_bytes=99, license="MIT", language="de")
    )
    assert made.columns.__dict__ == {
        "text": "t",
        "id": "i",
        "language": "l",
        "license": "c",
        "metadata": ("m",),
    }
    assert (made.max_document_bytes, made.default_license, made.default_language) == (99, "MIT", "de")


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"encoding": "utf-9"}, "got encoding 'utf-9', expected auto or one that Python knows for text"),
        ({"encoding": "base64"}, "got encoding 'base64'"),
        ({"delimiter": ";;"}, "delimiter"),
        ({"delimiter": ""}, "delimiter"),
        ({"max_document_bytes": 0}, "greater than or equal to 1"),
        ({"held_out_fraction": 1.0}, "less than 1"),
        ({"sample_fraction": 0.0}, "greater than 0"),
        ({"paths": []}, "at least 1 item"),
    ],
)
def test_what_no_reader_could_do_is_refused(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        source(**fields)
