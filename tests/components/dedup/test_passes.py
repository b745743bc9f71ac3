"""The passes read dates, scores and addresses of documents; and which earlier signatures can be compared."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from millrace.components.contract import Artifact, ComponentError
from millrace.components.dedup import passes
from millrace.components.dedup.config import DedupConfig


def seconds(*date: int) -> float:
    return datetime(*date, tzinfo=UTC).timestamp()  # type: ignore[misc,arg-type]  # year, month, day and more


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2020-05-01", seconds(2020, 5, 1)),
        (" 2020-05-01T10:00:00+02:00 ", seconds(2020, 5, 1, 8)),
        (1999, seconds(1999, 1, 1)),
        ("1999", seconds(1999, 1, 1)),
        (1, seconds(1, 1, 1)),
        (9999, seconds(9999, 1, 1)),
        (10_000, 10_000.0),
        (1_500_000_000, 1_500_000_000.0),
        ("1500000000.5", math.nan),
        (0, 0.0),
        (-5, -5.0),
        ("0000", 0.0),
        ("yesterday", math.nan),
        ("", math.nan),
        (None, math.nan),
        ([2020], math.nan),
        (math.nan, math.nan),
    ],
)
def test_a_date_is_iso_a_year_or_unix_seconds(written: object, meant: float) -> None:
    """From 1 to 9999 a number is a year; others are seconds, before 1970 as well."""
    assert passes._date(written) == pytest.approx(meant, nan_ok=True)


def test_the_policy_reads_the_field_that_it_names() -> None:
    """Of each document's metadata; what is no number, or not there, is NaN."""
    rows = [{"rank": 2, "date": 2001}, {"rank": "3.5"}, {"rank": "high"}, {"rank": None}, {}]
    table = pa.table({"metadata": [*map(json.dumps, rows), None, ""]})
    best = DedupConfig(survivor="best_score", score_field="rank")
    nan = math.nan
    np.testing.assert_array_equal(passes._values(table, best), [2, 3.5, nan, nan, nan, nan, nan])
    earliest = DedupConfig(survivor="earliest", date_field="date")
    np.testing.assert_array_equal(passes._values(table, earliest), [seconds(2001, 1, 1)] + [nan] * 6)
    assert np.isnan(passes._values(table, DedupConfig())).all()


def test_addresses_are_the_texts_under_a_key() -> None:
    rows = ['{"link": "http://a", "other": "http://b"}', '{"link": 3}', "{}", None]
    assert passes._texts(pa.table({"metadata": rows}), "link").to_pylist() == ["http://a", "", "", ""]


def artifact(folder: Path, config: DedupConfig) -> Artifact:
    folder.mkdir()
    passes.write_parameters(config, str(folder))
    (folder / "part-00000.parquet").touch()
    return Artifact(path=folder, kind="signatures", digest="0" * 64, stage="first")


@pytest.mark.parametrize("changed", [{"bands": 7}, {"rows": 9}, {"shingle_words": 4}, {"minhash": False}])
def test_signatures_made_another_way_are_refused(tmp_path: Path, changed: dict[str, int]) -> None:
    against = {"old": artifact(tmp_path / "a", DedupConfig().model_copy(update=changed))}
    with pytest.raises(ComponentError, match=rf"first \(against\.old\) made with {next(iter(changed))}"):
        passes.earlier_tasks(DedupConfig(), against, 0)


def test_earlier_shards_are_numbered_on(tmp_path: Path) -> None:
    """Each with the label of its corpus; URLs that an earlier corpus has besides are no hindrance."""
    against = {
        "old": artifact(tmp_path / "a", DedupConfig(url=True)),
        "new": artifact(tmp_path / "b", DedupConfig()),
    }
    tasks = passes.earlier_tasks(DedupConfig(), against, 3)
    assert [(index, label) for index, _, label in tasks] == [(3, "old"), (4, "new")]
