"""The rule ``url``: lists of the spec and of files count alike, in the column or in a field of the metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from millrace.components.contract import ComponentError
from millrace.components.filter.rule import Rows
from millrace.components.filter.rules.url import Url
from millrace.data.text.batch import from_texts

ADDRESS = "https://www.bad.example.org/some-wild-story/about/nastiness"


def measure(uri: str | None = ADDRESS, metadata: Any = None, **fields: Any) -> dict[str, float]:
    columns = pa.table({"uri": pa.array([uri], pa.string()), "metadata": pa.array([metadata], pa.string())})
    rows = Rows(from_texts(["text"]), columns)
    values = Url.model_validate({"rule": "url", **fields}).apply(rows).values
    return {name: float(found[0]) for name, found in values.items()}


LISTS = [
    ("domains", "bad.example.org", "blocked_domains"),
    ("words", "wild", "blocked_words"),
    ("soft_words", "story", "soft_words"),
    ("parts", "asti", "blocked_parts"),
]


@pytest.mark.parametrize(("field", "entry", "value"), LISTS)
def test_an_entry_counts_the_same_in_the_spec_and_in_a_file(
    tmp_path: Path, field: str, entry: str, value: str
) -> None:
    file = tmp_path / "list"
    file.write_text(f"# a list\n{entry}\n")
    nothing = measure()
    given: list[dict[str, Any]] = [{field: [entry]}, {f"{field}_file": str(file)}]
    for fields in given:
        found = measure(**fields)
        assert found[value] == nothing[value] + 1
        assert {name: found[name] for name in found if name != value} == {
            name: nothing[name] for name in found if name != value
        }


@pytest.mark.parametrize(
    ("metadata", "blocked"),
    [(json.dumps({"url": ADDRESS}), 1), ('{"url": 3}', 0), ("{}", 0), (None, 0)],
)
def test_the_address_may_stand_in_the_metadata(metadata: str | None, blocked: int) -> None:
    found = measure("https://ok.org", metadata, metadata_field="url", domains=["bad.example.org"])
    assert found["blocked_domains"] == blocked


@pytest.mark.parametrize(
    ("field", "entry", "said"),
    [
        ("domains", "...", "expected a letter or digit in it"),
        ("words", "two words", "expected one word of letters and digits"),
        ("patterns", "(", "expected RE2's syntax"),
    ],
)
def test_an_entry_that_can_match_nothing_is_refused(field: str, entry: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Url.model_validate({"rule": "url", field: [entry]})


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises((ComponentError, OSError), match="no-list"):
        measure(words_file=str(tmp_path / "no-list"))
