"""TFDS datasets: a real one is prepared, found by name, cut by split and read record by record."""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from millrace.data.sources import tfds
from millrace.data.sources.records import Columns, Malformed, Options, Record, SourceError

pytestmark = pytest.mark.filterwarnings("ignore:label:DeprecationWarning")  # the library calls protobuf so
COLUMNS = Columns("body", "number", metadata=("meta/url", "label"))


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset ``words`` with the configuration ``en`` and the splits ``train`` (40 records) and ``test`` (5)."""
    folder = tmp_path_factory.mktemp("tfds")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the library while it writes
        import tensorflow_datasets as library

        class Words(library.core.GeneratorBasedBuilder):
            VERSION = library.core.Version("1.0.0")
            BUILDER_CONFIGS = (library.core.BuilderConfig(name="en"),)
            pkg_dir_path = None
            url_infos: ClassVar[dict[str, Any]] = {}  # pyright: ignore[reportIncompatibleVariableOverride]  # nothing is downloaded

            def _info(self) -> Any:
                features = {
                    "body": library.features.Text(),
                    "number": library.features.Scalar(np.int64),
                    "label": library.features.ClassLabel(names=["good", "bad"]),
                    "meta": {"url": library.features.Text()},
                }
                return library.core.DatasetInfo(
                    builder=self, features=library.features.FeaturesDict(features)
                )

            def _split_generators(self, _: Any) -> Any:
                return {"train": self._generate_examples(40), "test": self._generate_examples(5)}

            def _generate_examples(self, count: int = 0) -> Any:
                for number in range(count):
                    row = {"body": f"Text {number} — é", "number": number, "label": number % 2}
                    yield number, {**row, "meta": {"url": f"u{number}"}}

        Words(data_dir=str(folder), file_format="array_record").download_and_prepare()
    return folder


def read(data_dir: Path, split: str, **options: Any) -> list[Record | Malformed]:
    parts = tfds.plan("words/en", split, str(data_dir), Options(COLUMNS, **options))
    return [item for part in parts for item in tfds.read(part) if isinstance(item, Record | Malformed)]


def test_a_split_is_read_in_its_order_as_the_library_gives_it(data_dir: Path) -> None:
    import tensorflow_datasets as library

    found = [item for item in read(data_dir, "train") if isinstance(item, Record)]
    source = library.builder_from_directory(str(data_dir / "words/en/1.0.0")).as_data_source("train")  # pyright: ignore[reportCallIssue]  # tfds decorates it
    assert [(item.text, item.metadata["meta/url"], item.metadata["id"]) for item in found] == [
        (row["body"].decode(), row["meta"]["url"].decode(), int(row["number"])) for row in source
    ]
    shard = "tfds://words/en/1.0.0/words-train.array_record-00000-of-00001"
    assert {(item.uri, item.lang) for item in found} == {(shard, "en")}
    assert [item.locator for item in found] == [str(index) for index in range(40)]
    assert {item.metadata["label"] for item in found} == {0, 1}


def test_slices_have_the_records_of_the_whole_with_their_ids(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read(data_dir, "train")
    assert read(data_dir, "train[25%:50%]") == whole[10:20]
    assert read(data_dir, "train[:5]+test[3:]") == whole[:5] + read(data_dir, "test")[3:]
    monkeypatch.setattr(tfds, "PART_BYTES", 20_000)
    assert len(tfds.plan("words/en", "train", str(data_dir), Options(COLUMNS))) > 3
    assert read(data_dir, "train") == whole


def test_planning_a_run_does_not_import_the_library(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    before = tfds.fingerprint("words/en:1.0.0", str(data_dir))
    assert (before[0], json.loads(json.dumps(before))) == ("1.0.0", before)
    with pytest.raises(SourceError, match=r"tensorflow-datasets is not installed; .*'millrace\[tfds\]'"):
        read(data_dir, "train")


def test_the_latest_version_is_taken_and_changes_the_fingerprint(data_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(data_dir / "words", tmp_path / "words")
    before = tfds.fingerprint("words/en", str(tmp_path))
    shutil.copytree(data_dir / "words/en/1.0.0", tmp_path / "words/en/1.0.10")
    shutil.copytree(data_dir / "words/en/1.0.0", tmp_path / "words/en/1.0.9")
    assert tfds.find("words/en", str(tmp_path)).endswith("1.0.10")
    assert tfds.fingerprint("words/en", str(tmp_path)) != before


@pytest.mark.parametrize(
    ("name", "split", "columns", "problem"),
    [
        ("word", "train", COLUMNS, "got no dataset 'word' in .*did you mean 'words'"),
        ("words", "train", COLUMNS, "without versions in .*expected a configuration: one of en"),
        ("words/e", "train", COLUMNS, "got no configuration of words 'e'"),
        ("words/en:2.0.0", "train", COLUMNS, "got version '2.0.0' .*one of 1.0.0"),
        ("../words", "train", COLUMNS, "expected one such as words"),
        ("words/en", "tests", COLUMNS, r"got split 'tests' .*one of test, train, or a slice such as train"),
        ("words/en", "train[:x]", COLUMNS, r"got split 'train\[:x\]'"),
        ("words/en", "train[:9]+train[5:]", COLUMNS, "records twice, expected slices that do not overlap"),
        ("words/en", "train", Columns("text"), "got no feature 'text' .*body, label, meta/url, number"),
    ],
)
def test_what_is_not_there_is_named_with_what_is(
    data_dir: Path, name: str, split: str, columns: Columns, problem: str
) -> None:
    with pytest.raises(SourceError, match=problem):
        tfds.plan(name, split, str(data_dir), Options(columns))


@pytest.mark.parametrize(
    ("kind", "problem"),
    [("tfrecord", "tfds convert_format .*--out_file_format=array_record"), ("parquet", "type: files")],
)
def test_other_file_formats_say_how_to_convert(
    data_dir: Path, tmp_path: Path, kind: str, problem: str
) -> None:
    shutil.copytree(data_dir / "words", tmp_path / "words")
    path = tmp_path / "words/en/1.0.0/dataset_info.json"
    path.write_text(path.read_text().replace('"array_record"', f'"{kind}"'))
    with pytest.raises(SourceError, match=problem):
        tfds.fingerprint("words/en", str(tmp_path))
    path.write_text("{")
    with pytest.raises(SourceError, match="cannot be read"):
        tfds.fingerprint("words/en", str(tmp_path))


def test_a_missing_or_truncated_shard_costs_its_records(data_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(data_dir / "words", tmp_path / "words")
    shard = tmp_path / "words/en/1.0.0/words-test.array_record-00000-of-00001"
    shard.write_bytes(shard.read_bytes()[:1000])
    for damage in (lambda: None, shard.unlink):
        damage()
        found = read(tmp_path, "test")
        assert [item.locator for item in found] == ["0", "1", "2", "3", "4"]
        assert all(
            isinstance(item, Malformed) and "missing, truncated or corrupt" in item.problem for item in found
        )
