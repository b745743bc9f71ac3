"""CSV: delimiters, quotes and rows of another length."""

from __future__ import annotations

from pathlib import Path

from tests.data.sources.reading import contents


def test_csv_has_delimiters_quotes_line_ends_in_quotes_and_rows_of_another_length(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('id;text\n1;"a ""b""; c\nd"\n2\n3;e\n;f\n')
    found, problems = contents(tmp_path / "a.csv", delimiter=";")
    assert found == ['a "b"; c\nd', "e", "f"]
    assert problems == [
        "malformed " + str(tmp_path / "a.csv") + ": got 1 fields, expected 2 as in the line of names"
    ]
