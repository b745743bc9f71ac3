"""Ingesting git repositories, Hugging Face datasets and TFDS datasets: ids, limits, held-out documents, mistakes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from array_record.python.array_record_module import ArrayRecordWriter
from pydantic import ValidationError

from millrace.components import registry
from millrace.components.contract import ComponentError
from millrace.data.documents.shards import document_id, read_shards, shard_paths
from millrace.data.sources.tables.tf_example import _example

COUNT = 120
FEATURES = {
    "pythonClassName": "tensorflow_datasets.core.features.features_dict.FeaturesDict",
    "featuresDict": {
        "features": {
            "text": {
                "pythonClassName": "tensorflow_datasets.core.features.text_feature.Text",
                "text": {},
            }
        }
    },
}
pytestmark = pytest.mark.filterwarnings(
    "ignore:label:DeprecationWarning"
)  # tensorflow_datasets calls protobuf so


def texts(count: int = COUNT) -> list[str]:
    return [f"def number_{index}():\n    return {index}\n" for index in range(count)]


def make_git(folder: Path) -> dict[str, Any]:
    (folder / "lib").mkdir(parents=True)
    for index, text in enumerate(texts()):
        (folder / f"lib/a{index:04d}.py").write_text(text)
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "all"]):
        subprocess.run(["git", "-C", str(folder), *who, *command], check=True)
    return {"type": "git", "repository": str(folder), "license": "MIT"}


def make_huggingface(folder: Path) -> dict[str, Any]:
    folder.mkdir()
    table = pa.table({"text": texts()})
    names = []
    for place in range(0, COUNT, 30):
        names.append(f"data-{place:05d}.arrow")
        with pa.ipc.new_stream(str(folder / names[-1]), table.schema) as writer:
            writer.write_table(table.slice(place, 30))
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    return {"type": "huggingface", "path": str(folder)}


def make_tfds(folder: Path) -> dict[str, Any]:
    version = folder / "words/1.0.0"
    version.mkdir(parents=True)
    writer = ArrayRecordWriter(str(version / "words-train.array_record-00000-of-00001"), "group_size:1")
    for text in texts():
        message = _example()()
        message.features.feature["text"].bytes_list.value.append(text.encode())
        writer.write(message.SerializeToString())
    writer.close()
    split = {"name": "train", "shardLengths": [str(COUNT)], "numBytes": "1"}
    split["filepathTemplate"] = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    info = {"name": "words", "version": "1.0.0", "fileFormat": "array_record", "splits": [split]}
    (version / "dataset_info.json").write_text(json.dumps(info))
    (version / "features.json").write_text(json.dumps(FEATURES))
    return {"type": "tfds", "name": "words", "data_dir": str(folder)}


MAKERS = {"git": make_git, "huggingface": make_huggingface, "tfds": make_tfds}


def rows(folder: Path) -> list[dict[str, Any]]:
    return pa.concat_tables(read_shards(folder)).to_pylist()


@pytest.mark.parametrize("kind", MAKERS)
def test_a_source_becomes_documents_with_ids_and_the_same_bytes_again(
    run_component: Any, tmp_path: Path, kind: str
) -> None:
    source = {**MAKERS[kind](tmp_path / "my"), "held_out_fraction": 0.2}
    one, two = (run_component("ingest", {"sources": {"words": source}}) for _ in range(2))
    documents, held_out = rows(one.outputs["documents"]), rows(one.outputs["held_out"])
    assert sorted(row["text"] for row in documents + held_out) == sorted(texts())
    assert all(row["doc_id"] == document_id(row["uri"], row["locator"]) for row in documents + held_out)
    assert 8 <= len(held_out) <= 40
    for port, folder in one.outputs.items():
        for path, again in zip(shard_paths(folder), shard_paths(two.outputs[port]), strict=True):
            assert path.read_bytes() == again.read_bytes()


@pytest.mark.parametrize("kind", MAKERS)
def test_limits_and_samples_take_what_they_take_of_files(
    run_component: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    source = MAKERS[kind](tmp_path / "my")
    first = run_component("ingest", {"sources": {"words": {**source, "max_documents": 50}}})
    assert [row["text"] for row in rows(first.outputs["documents"])] == texts(50)
    sampled = run_component("ingest", {"sources": {"words": {**source, "sample_fraction": 0.3}}})
    found = rows(sampled.outputs["documents"])
    assert 15 <= len(found) <= 60
    assert sampled.metrics["sampled_out.words"] == COUNT - len(found)


@pytest.mark.parametrize("kind", MAKERS)
def test_planning_is_quick_and_its_fingerprint_changes_with_the_source(tmp_path: Path, kind: str) -> None:
    source = MAKERS[kind](tmp_path / "my")
    component = registry.get("ingest")
    config = component.config.model_validate({"sources": {"words": source}})
    assert component.fingerprint is not None
    before = component.fingerprint(config)
    assert before == json.loads(json.dumps(before)) == component.fingerprint(config)
    if kind == "git":
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        command = ["git", "-C", str(tmp_path / "my"), *who, "commit", "--quiet", "--allow-empty", "-m", "2"]
        subprocess.run(command, check=True)
    else:
        path = next(
            path
            for path in (tmp_path / "my").rglob("*")
            if "array_record" in path.name or path.suffix == ".arrow"
        )
        path.write_bytes(path.read_bytes() + b"x")
    assert component.fingerprint(config) != before
    code = (
        "import json, sys; from millrace.components import registry; c = registry.get('ingest');"
        "c.fingerprint(c.config.model_validate(json.loads(sys.argv[1])));"
        "print([name for name in ('pyarrow', 'numpy', 'tensorflow_datasets', 'huggingface_hub') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, json.dumps({"sources": {"words": source}})]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "[]\n"


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ({"type": "git", "repository": "none"}, "source x: got repository 'none', expected a folder"),
        ({"type": "huggingface", "path": "none"}, "source x: got dataset path 'none', expected owner/name"),
        ({"type": "tfds", "name": "none", "data_dir": "none"}, "source x: got no dataset 'none' in none"),
    ],
)
def test_mistakes_are_found_before_anything_runs(source: dict[str, Any], problem: str) -> None:
    component = registry.get("ingest")
    assert component.fingerprint is not None
    with pytest.raises(ComponentError, match=problem):
        component.fingerprint(component.config.model_validate({"sources": {"x": source}}))


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ({"type": "git", "repository": ".", "languages": ["pyhton"]}, "did you mean 'python'"),
        ({"type": "git", "repository": ".", "encoding": "utf-9"}, "expected auto or one that Python knows"),
        ({"type": "git", "repository": ".", "name": "a@b"}, "should match pattern"),
        ({"type": "svn"}, "'python_environment', 'files', 'git', 'huggingface', 'tfds'"),
    ],
)
def test_a_wrong_field_is_named_when_the_spec_is_checked(source: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        registry.get("ingest").config.model_validate({"sources": {"x": source}})
