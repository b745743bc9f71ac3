"""Specs: every mistake is found before anything runs, with its place; overrides keep their places too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from millrace import pipelines
from millrace.components import registry
from millrace.pipelines.spec import check
from millrace.pipelines.spec import models as spec
from millrace.pipelines.spec.source_map import SpecError

ROOT = Path(str(pipelines.__path__[0])).resolve().parent
SHIPPED = [  # documents.yaml is what `millrace init` fills in, and tested with it
    file
    for file in (ROOT / "pipeline.yaml", *sorted((ROOT / "pipelines" / "specs").glob("*.yaml")))
    if file.name != "documents.yaml"
]
pytestmark = pytest.mark.usefixtures("toys")

GOOD = """\
name: small
seed: 3
stages:
  read:
    uses: toy_source
    with: {text: abc}
  clean:
    uses: toy_step
    inputs: {documents: read.documents}
    with:
      seconds: 1e-3
    resources: {cpu: 2, memory: 4Gi, retries: 2, timeout: 2h}
profiles:
  fast:
    stages:
      clean:
        with: {seconds: 0.5, add: fast}
  bad:
    stages: {clean: {with: {sekonds: 1}}}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "pipeline.yaml"
    file.write_text(GOOD)
    return file


def found(path: Path, text: str | None = None, **options: Any) -> list[str]:
    if text is not None:
        path.write_text(text)
    with pytest.raises(SpecError) as caught:
        check.load(path, **options)
    return [str(mistake).removeprefix(f"{path.parent}/") for mistake in caught.value.mistakes]


def test_a_good_spec_becomes_validated_configurations(path: Path) -> None:
    pipeline = check.load(path)
    assert pipeline.nodes["clean"].config.model_dump()["seconds"] == 1e-3
    assert pipeline.nodes["clean"].stage.resources.timeout_seconds == 7200
    assert pipeline.store_uri == str(path.parent / ".millrace")


def test_the_resolved_spec_is_a_spec_that_resolves_to_itself(path: Path) -> None:
    resolved = check.load(path, profile="fast").resolved()
    path.write_text(json.dumps(resolved))
    assert check.load(path).resolved() == resolved


def test_every_mistake_of_every_kind_is_reported_at_once_in_the_order_of_the_file(path: Path) -> None:
    lines = found(
        path,
        "name: Small\nsede: 1\nseed: -1\nstages:\n"
        "  read:\n    uses: toy_source\n    with:\n      txt: a\n      parts: 0\n"
        "  clean:\n    uses: toy_stepp\n    inputs: {documents: read.documents}\n"
        "  sort:\n    uses: toy_step\n    inputs: {documents: 3}\n    resources: {memory: 4G, cpus: 1}\n"
        "  join:\n    uses: toy_report\n    inputs: {texts: {a: read.document, b: clean.documents, c: sort.x}}\n"
        "  last:\n    uses: toy_step\n    inputs: {dokuments: join.report}\n",
    )
    expected = [
        "pipeline.yaml:1: name: got 'Small', expected text that matches",
        "pipeline.yaml:2: sede: unknown key 'sede'; did you mean 'seed'?",
        "pipeline.yaml:3: seed: got -1, expected greater than or equal to 0",
        "pipeline.yaml:8: stages.read.with.txt: unknown key 'txt'; did you mean 'text'?",
        "pipeline.yaml:9: stages.read.with.parts: got 0, expected greater than or equal to 1",
        "pipeline.yaml:11: stages.clean.uses: got 'toy_stepp', expected a component; did you mean 'toy_step'?",
        "pipeline.yaml:15: stages.sort.inputs.documents: got 3, expected a valid string or a valid dictionary",
        "pipeline.yaml:16: stages.sort.resources.cpus: unknown key 'cpus'; did you mean 'cpu'?",
        "pipeline.yaml:16: stages.sort.resources.memory: got '4G', expected text that matches",
        "pipeline.yaml:20: stages.last: the input 'documents' is missing, expected a documents output",
        "pipeline.yaml:22: stages.last.inputs.dokuments: toy_step has no input 'dokuments'; did you mean 'documents'?",
    ]
    for line, start in zip(lines, expected, strict=True):
        assert line.startswith(start)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("name: small\n", "", "pipeline.yaml:1: name: is missing"),
        ("seed: 3", "seed: 1.5", "pipeline.yaml:2: seed: got 1.5, expected a valid integer"),
        ("seed: 3", "store: ''", "pipeline.yaml:2: store: got '', expected at least 1 character"),
        ("cpu: 2", "cpu: .inf", "pipeline.yaml:12: stages.clean.resources.cpu: got '.inf', expected a valid number"),
        ("timeout: 2h", "timeout: 2 hours", "pipeline.yaml:12: stages.clean.resources.timeout: got '2 hours'"),
        ("uses: toy_source\n", "", "pipeline.yaml:4: stages.read.uses: is missing"),
        ("{text: abc}", "{text: [1]}", r"pipeline.yaml:6: stages.read.with.text: got \[1\], expected a valid string"),
        ("with: {text: abc}", "with:", "pipeline.yaml:6: stages.read.with: got None, expected a valid dictionary"),
        ("  read:\n", "  Read it:\n", "pipeline.yaml:4: stages.Read it.* expected text that matches"),
    ],
)  # fmt: skip
def test_a_mistake_names_its_line_what_was_got_and_what_was_expected(
    path: Path, old: str, new: str, expected: str
) -> None:
    with pytest.raises(SpecError, match=expected):
        check.load(_write(path, GOOD.replace(old, new, 1)))


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_spec_that_is_no_mapping_is_a_mistake(path: Path) -> None:
    assert found(path, "- a\n- b\n")[0].startswith("pipeline.yaml:1: got ['a', 'b'], expected")


def test_a_file_that_is_not_utf8_names_the_line(path: Path) -> None:
    path.write_bytes(b"name: small\n# caf\xe9\n")
    assert found(path) == ["pipeline.yaml:2: got the byte 0xe9, expected UTF-8: save the file as UTF-8"]


def test_a_byte_order_mark_does_not_matter(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert check.load(path).spec.name == "small"


def test_a_missing_file_says_what_writes_one(path: Path) -> None:
    path.unlink()
    assert found(path) == ["pipeline.yaml: no such file; `millrace init` writes one"]


def test_a_profile_is_laid_over_the_spec_and_keeps_its_lines(path: Path) -> None:
    pipeline = check.load(path, profile="fast")
    config = pipeline.nodes["clean"].config.model_dump()
    assert (config["seconds"], config["add"]) == (0.5, "fast")
    assert found(path, profile="bad")[0].startswith(
        "pipeline.yaml:19: stages.clean.with.sekonds: unknown key"
    )


def test_an_unknown_profile_names_the_closest(path: Path) -> None:
    assert found(path, profile="fest") == [
        "pipeline.yaml: --profile: the spec has no profile 'fest'; did you mean 'fast'?"
    ]


def test_settings_win_over_the_profile_and_the_last_one_wins(path: Path) -> None:
    sets = ["stages.clean.with.seconds=2", "stages.clean.with={add: x}", "stages.clean.with.add=y", "seed=9"]
    pipeline = check.load(path, profile="fast", sets=sets)
    config = pipeline.nodes["clean"].config.model_dump()
    assert (config["seconds"], config["add"], pipeline.spec.seed) == (2.0, "y", 9)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("stages.claen.with.seconds=1", "--set stages.claen.with.seconds=1: .*stages.claen; did you mean 'clean'?"),
        ("stages.clean.with.sekonds=1", "--set stages.clean.with.sekonds=1: .* did you mean 'seconds'?"),
        ("stages.clean.with.seconds=a", "--set stages.clean.with.seconds=a: .*got 'a', expected a valid number"),
        ("stages.clean.with.seconds=[", "--set stages.clean.with.seconds=.: not valid YAML"),
        ("stages.clean", "--set: got 'stages.clean', expected PATH=VALUE"),
        ("=3", "--set: got '=3', expected PATH=VALUE"),
        ("a..b=3", "--set: got 'a..b=3', expected PATH=VALUE"),
    ],
)  # fmt: skip
def test_a_wrong_setting_names_itself(path: Path, setting: str, expected: str) -> None:
    with pytest.raises(SpecError, match=expected):
        check.load(path, sets=[setting])


def test_a_store_on_the_command_line_counts_from_where_one_stands(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert check.load(path, store="mine").store_uri == str(tmp_path / "elsewhere" / "mine")
    assert check.load(path, store="s3://bucket/a").store_uri == "s3://bucket/a"


def test_the_schema_has_each_components_own_configuration() -> None:
    schema = spec.schema()
    definitions = schema["$defs"]
    assert definitions["Stage"]["properties"]["uses"]["enum"] == list(registry.names())
    for name in registry.names():
        fields = registry.get(name).config.model_json_schema(by_alias=True)["properties"]
        assert definitions[f"with.{name}"]["properties"].keys() == fields.keys()
    references = [text.partition('"')[0] for text in json.dumps(schema).split('"#/$defs/')[1:]]
    assert set(references) <= definitions.keys()


def conforms(value: Any, schema: dict[str, Any], definitions: dict[str, Any]) -> bool:
    """Whether a value has only keys that a JSON Schema knows, and all that it requires."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].removeprefix("#/$defs/")]
    if not isinstance(value, dict) or schema.get("type") != "object":
        return True
    known = schema.get("properties", {})
    other = schema.get("additionalProperties", True)
    patterns = schema.get("patternProperties", {})
    if not set(schema.get("required", ())) <= value.keys() or (
        other is False and not value.keys() <= known.keys() and not patterns
    ):
        return False
    rest = next(iter(patterns.values()), other if isinstance(other, dict) else {})
    return all(conforms(item, known.get(key, rest), definitions) for key, item in value.items())


@pytest.mark.parametrize("file", SHIPPED, ids=lambda path: path.name)
def test_every_shipped_spec_is_right_in_every_profile_and_as_the_schema_says(file: Path) -> None:
    pipeline = check.load(file)
    assert list(check.profiles(pipeline, file)) == []
    assert [warning for warning in check.warnings(pipeline) if "gate" in warning.message] == []
    schema = spec.schema()
    data = spec.read(file).data
    assert conforms(data, schema, schema["$defs"])
    assert not conforms({**data, "sede": 1}, schema, schema["$defs"])
    for stage in data["stages"].values():
        assert conforms(stage.get("with", {}), schema["$defs"][f"with.{stage['uses']}"], schema["$defs"])


def test_the_closest_name_is_offered_or_all_of_them() -> None:
    assert spec.closest("fliter", ["filter", "dedup"]) == "; did you mean 'filter'?"
    assert spec.closest("xyz", ["filter", "dedup"]) == " (one of dedup, filter)"
    assert spec.closest("xyz", []) == ""


@pytest.mark.parametrize(
    ("timeout", "seconds"), [("5s", 5), ("3m", 180), ("2h", 7200), ("1d", 86_400), (None, None)]
)
def test_a_timeout_is_a_number_with_its_unit(timeout: str | None, seconds: int | None) -> None:
    assert spec.Resources(timeout=timeout).timeout_seconds == seconds


@pytest.mark.parametrize(
    "resources",
    [
        {"cpu": 0}, {"memory": "4GB"}, {"hosts": 0}, {"hosts": 257}, {"retries": -1}, {"retries": 21},
        {"timeout": "1w"}, {"accelerator": {"count": 0}}, {"accelerator": {"kind": "tpu"}},
    ],
    ids=str,
)  # fmt: skip
def test_resources_that_no_machine_gives_are_refused(resources: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        spec.Resources.model_validate(resources)


def test_an_accelerator_is_one_gpu_unless_the_spec_says_more() -> None:
    assert spec.Resources.model_validate({"accelerator": {}}).accelerator == spec.Accelerator(
        type="nvidia.com/gpu", count=1
    )
