"""The spec: its models, and how a file, profiles and ``--set`` become one resolved pipeline.

The same Pydantic models give the validation and the JSON Schema that editors complete from. A resolved spec holds,
for every stage, the validated configuration of its component, so nothing later has to look at YAML again.
"""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, ValidationError

from millrace.components import registry
from millrace.components.contract import Component, Config

from .durations import seconds
from .source_map import Mistake, Source, SpecError, parse, parse_value

DEFAULT_SPEC = "pipeline.yaml"

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]*$", max_length=60)]
Memory = Annotated[str, StringConstraints(pattern=r"^[0-9]+(Ki|Mi|Gi|Ti)$")]
Duration = Annotated[str, StringConstraints(pattern=r"^[0-9]+(s|m|h|d)$")]


class Strict(BaseModel):
    """Base of the spec's models: immutable, unknown keys forbidden."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)


class Accelerator(Strict):
    """Accelerators of one stage."""

    type: str = Field(
        default="nvidia.com/gpu",
        description="Kubernetes resource name, for example nvidia.com/gpu or google.com/tpu.",
    )
    count: int = Field(default=1, ge=1, description="How many, on each host.")


class Resources(Strict):
    """The machine that a stage needs. Never part of a stage's identity."""

    cpu: float | None = Field(default=None, gt=0, description="CPU cores.")
    memory: Memory | None = Field(default=None, description="Memory, for example 4Gi.")
    accelerator: Accelerator | None = Field(default=None, description="GPUs or TPUs.")
    hosts: int = Field(
        default=1,
        ge=1,
        le=256,
        description="Processes that train together, one for each host; all on this machine under the local engine.",
    )
    retries: int = Field(
        default=0,
        ge=0,
        le=20,
        description="Further attempts after a crash; a stage goes on from its checkpoints.",
    )
    timeout: Duration | None = Field(default=None, description="Longest time of one attempt, for example 2h.")

    @property
    def timeout_seconds(self) -> int | None:
        """The timeout in seconds."""
        return seconds(self.timeout) if self.timeout else None


class Beam(Strict):
    """Which Beam runner executes the data stages. Never part of a stage's identity."""

    runner: str | None = Field(
        default=None, description="Beam runner, for example FlinkRunner; in-process when left out."
    )
    options: dict[str, str | int | float | bool] = Field(
        default_factory=dict, description="Beam pipeline options."
    )


class Stage(Strict):
    """One node of the pipeline."""

    uses: str = Field(description="The component; `millrace components` lists them.")
    inputs: dict[Name, str | dict[Name, str]] = Field(
        default_factory=dict,
        description="Port -> STAGE.PORT, or a mapping of labels to STAGE.PORT where a port takes many.",
    )
    with_: dict[str, JsonValue] = Field(
        default_factory=dict,
        alias="with",
        description="The component's configuration; `millrace components NAME` explains it.",
    )
    resources: Resources = Field(
        default_factory=Resources, description="What the stage needs from the machine."
    )
    beam: Beam | None = Field(
        default=None, description="Beam runner of this stage; the spec's when left out."
    )


class Spec(Strict):
    """A pipeline: stages, where their artifacts are kept, and the seed that everything random comes from."""

    name: Name = Field(description="The pipeline's name.")
    store: str = Field(
        default=".millrace",
        min_length=1,
        description="Where artifacts live: a folder beside the spec, or an fsspec URI (s3://, gs://).",
    )
    store_timeout: Duration = Field(
        default="2m",
        description="How long an object store is tried again while it is down, overloaded or silent.",
    )
    seed: int = Field(default=0, ge=0, lt=2**31, description="The source of every random choice.")
    beam: Beam = Field(default_factory=Beam, description="Which Beam runner executes the data stages.")
    stages: dict[Name, Stage] = Field(min_length=1, description="Stage name -> stage.")
    profiles: dict[Name, dict[str, JsonValue]] = Field(
        default_factory=dict,
        description="Profile name -> overrides, a partial spec that `--profile` lays over this one.",
    )


@dataclass(frozen=True)
class Node:
    """A stage with its component and validated configuration.

    Attributes:
        name: The stage's name.
        stage: Its part of the spec.
        component: What it uses.
        config: The validated configuration.
    """

    name: str
    stage: Stage
    component: Component
    config: Config

    def references(self) -> Iterator[tuple[str, str | None, str, str]]:
        """Every input as (port, label or None, upstream stage, upstream port)."""
        for port, value in self.stage.inputs.items():
            pairs = [(None, value)] if isinstance(value, str) else list(value.items())
            for label, reference in pairs:
                stage, _, output = reference.partition(".")
                yield port, label, stage, output


@dataclass(frozen=True)
class Graph:
    """The stages of a spec, as far as they can be understood.

    Attributes:
        nodes: Stage name -> node, in the file's order.
        source: The plain data that it came from, with places for messages.
        unreadable: Names of stages that have mistakes of their own and are not among the nodes.
    """

    nodes: Mapping[str, Node]
    source: Source
    unreadable: frozenset[str] = field(default=frozenset(), kw_only=True)


@dataclass(frozen=True)
class Pipeline(Graph):
    """A resolved spec, every stage of it valid.

    Attributes:
        spec: The validated models.
        folder: The folder that relative paths are relative to.
    """

    spec: Spec
    folder: Path

    @property
    def store_uri(self) -> str:
        """The store's URI; a plain folder is relative to the spec's own."""
        return self.spec.store if "://" in self.spec.store else str(self.folder / self.spec.store)

    @property
    def store_timeout_seconds(self) -> int:
        """How long an object store is tried again."""
        return seconds(self.spec.store_timeout)

    def resolved(self) -> dict[str, Any]:
        """The whole spec as JSON values, every default filled in, profiles already applied."""
        data = self.spec.model_dump(mode="json", by_alias=True, exclude={"profiles"})
        for name, node in self.nodes.items():
            data["stages"][name]["with"] = node.config.model_dump(mode="json", by_alias=True)
        return data


def load(
    path: Path, *, profile: str | None = None, sets: Sequence[str] = (), store: str | None = None
) -> Pipeline:
    """Reads, overrides and validates a spec file.

    Args:
        path: The file.
        profile: Name of the profile to lay over it.
        sets: ``dotted.path=value`` overrides; values are YAML.
        store: Store URI that replaces the spec's.

    Raises:
        SpecError: With every mistake that was found.
    """
    return resolve(read(path, profile=profile, sets=sets, store=store), path.absolute().parent)


def resolve(source: Source, folder: Path) -> Pipeline:
    """Validates plain data into a pipeline; see ``load``."""
    spec, graph, mistakes = understand(source)
    if spec is None or mistakes:
        raise SpecError(mistakes)
    return Pipeline(graph.nodes, source, spec, folder)


def read(
    path: Path, *, profile: str | None = None, sets: Sequence[str] = (), store: str | None = None
) -> Source:
    """A spec file's plain data with profile and settings laid over it, not yet validated; see ``load``."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        hint = "`millrace init` writes one" if path.name == DEFAULT_SPEC else "check the path"
        raise SpecError([Mistake(str(path), "", f"no such file; {hint}")]) from None
    except OSError as error:
        raise SpecError([Mistake(str(path), "", f"cannot be read: {error.strerror}")]) from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"got the byte 0x{data[error.start]:02x}, expected UTF-8: save the file as UTF-8"
        raise SpecError([Mistake(f"{path}:{line}", "", message)]) from None
    source = parse(text, str(path))
    if profile is not None:
        source = _with_profile(source, profile, path)
    for setting in sets:
        source = _with_setting(source, setting)
    if store is not None:
        relative = store if "://" in store else str(Path(store).absolute())
        source = source.merged(Source({"store": relative}, {("store",): "--store"}))
    return source


def understand(source: Source) -> tuple[Spec | None, Graph, list[Mistake]]:
    """Validates plain data, stage by stage, so that one mistake does not hide another.

    Returns:
        The spec or None when its own models do not fit, the stages that are right in themselves, and all mistakes.
    """
    spec: Spec | None = None
    mistakes: list[Mistake] = []
    stages: dict[str, Stage] = {}
    named: list[str] = []
    try:
        spec = Spec.model_validate(source.data)
        stages = dict(spec.stages)
    except ValidationError as error:
        mistakes.extend(_mistakes(error, Spec, source, ()))
        written = source.data.get("stages") if isinstance(source.data, dict) else None
        for name, value in written.items() if isinstance(written, dict) else ():
            named.append(name)
            try:
                stages[name] = Stage.model_validate(value)
            except ValidationError:
                if (salvaged := _configured(value)) is not None:
                    mistakes.extend(_config_mistakes(salvaged, source, name)[1])
    nodes: dict[str, Node] = {}
    for name, stage in stages.items():
        config, found = _config_mistakes(stage, source, name)
        mistakes.extend(found)
        if config is not None:
            nodes[name] = Node(name, stage, registry.get(stage.uses), config)
    unreadable = frozenset([*named, *stages]) - nodes.keys()
    return spec, Graph(nodes, source, unreadable=unreadable), mistakes


def _configured(value: Any) -> Stage | None:
    """The component and configuration of a stage that is wrong elsewhere."""
    if not isinstance(value, dict) or not isinstance(value.get("uses"), str):
        return None
    given = value.get("with", {})
    return Stage.model_validate({"uses": value["uses"], "with": given}) if isinstance(given, dict) else None


def _config_mistakes(stage: Stage, source: Source, name: str) -> tuple[Config | None, list[Mistake]]:
    if stage.uses not in registry.COMPONENTS:
        path = ("stages", name, "uses")
        message = f"got {stage.uses!r}, expected a component{closest(stage.uses, registry.names())}"
        return None, [Mistake(source.where(path), ".".join(path), message)]
    model = registry.get(stage.uses).config
    try:
        return model.model_validate(stage.with_), []
    except ValidationError as error:
        return None, list(_mistakes(error, model, source, ("stages", name, "with")))


def closest(word: str, names: Sequence[str]) -> str:
    """``; did you mean 'x'?`` or the list of valid names, for the end of a message."""
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f" (one of {', '.join(sorted(names))})" if names else ""


def schema() -> dict[str, Any]:
    """The JSON Schema of a spec; each stage's ``with`` is that of its component."""
    root = Spec.model_json_schema(by_alias=True)
    definitions = root["$defs"]
    branches = []
    for name in registry.names():
        config = registry.get(name).config.model_json_schema(
            by_alias=True, ref_template=f"#/$defs/{name}.{{model}}"
        )
        for inner, value in config.pop("$defs", {}).items():
            definitions[f"{name}.{inner}"] = value
        definitions[f"with.{name}"] = config
        branches.append(
            {
                "if": {"properties": {"uses": {"const": name}}},
                "then": {"properties": {"with": {"$ref": f"#/$defs/with.{name}"}}},
            }
        )
    definitions["Stage"]["properties"]["uses"]["enum"] = list(registry.names())
    definitions["Stage"]["allOf"] = branches
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **root}


def _with_profile(source: Source, profile: str, path: Path) -> Source:
    profiles = source.data.get("profiles") if isinstance(source.data, dict) else None
    known = list(profiles) if isinstance(profiles, dict) else []
    if profile not in known:
        message = f"the spec has no profile {profile!r}{closest(profile, known)}"
        raise SpecError([Mistake(str(path), "--profile", message)])
    return source.merged(source.part(("profiles", profile)))


def _with_setting(source: Source, setting: str) -> Source:
    dotted, equals, text = setting.partition("=")
    steps = tuple(dotted.strip().split("."))
    if not equals or not all(steps):
        message = f"got {setting!r}, expected PATH=VALUE, for example stages.pretrain.with.steps=50"
        raise SpecError([Mistake("--set", "", message)])
    data = source.data
    for depth, step in enumerate(steps[:-1]):
        if isinstance(data, dict) and step not in data and depth <= 1:
            message = f"the spec has no {'.'.join(steps[: depth + 1])}{closest(step, list(data))}"
            raise SpecError([Mistake(f"--set {setting}", "", message)])
        data = data.get(step, {}) if isinstance(data, dict) else {}
    value: Any = parse_value(text, f"--set {setting}")
    marks: dict[tuple[str | int, ...], str] = {steps: f"--set {setting}"}
    for step in reversed(steps):
        value = {step: value}
    return source.merged(Source(value, marks))


def _mistakes(
    error: ValidationError, model: type[BaseModel], source: Source, prefix: tuple[str | int, ...]
) -> Iterator[Mistake]:
    wanted: dict[tuple[str | int, ...], list[str]] = {}
    given: dict[tuple[str | int, ...], str] = {}
    for item in error.errors():
        loc = tuple(
            step for step in item["loc"] if not (isinstance(step, str) and step.startswith("function-"))
        )
        path = (*prefix, *_existing(loc, source, prefix, item["type"]))
        message = None
        if item["type"] == "extra_forbidden":
            message = f"unknown key {loc[-1]!r}{closest(str(loc[-1]), _fields(model, loc[:-1]))}"
        elif item["type"] == "missing":
            message = "is missing, and has no default"
        elif item["type"] == "value_error" and isinstance(item["input"], dict):
            message = item["msg"].removeprefix("Value error, ")  # a rule over several fields says it all
        elif item["type"] == "union_tag_invalid":
            context = item.get("ctx", {})
            path = (*path, context["discriminator"].strip("'"))
            near = closest(context["tag"], re.findall(r"'([^']*)'", context["expected_tags"]))
            message = f"got {context['tag']!r}, expected one of {context['expected_tags']}{near}"
        if message is not None:
            yield Mistake(source.where(path), ".".join(map(str, path)), message)
            continue
        got = repr(item["input"])
        given[path] = got if len(got) <= 60 else got[:57] + "..."
        wanted.setdefault(path, []).append(
            re.sub(r"^(?:Value error, |[A-Z]\w* should (?:be |have )?)", "", item["msg"]).replace(
                "match pattern", "text that matches"
            )
        )
    for path, expected in wanted.items():
        message = f"got {given[path]}, expected {' or '.join(dict.fromkeys(expected))}"
        yield Mistake(source.where(path), ".".join(map(str, path)), message)


def _existing(
    loc: tuple[str | int, ...], source: Source, prefix: tuple[str | int, ...], kind: str
) -> tuple[str | int, ...]:
    """The location without the union tags that Pydantic puts in between, which no file has."""
    kept: tuple[str | int, ...] = ()
    for index, step in enumerate(loc):
        last = index == len(loc) - 1
        if (*prefix, *kept, step) in source.marks or (last and kind == "missing"):
            kept = (*kept, step)
    return kept


def _fields(model: type[BaseModel], loc: Sequence[str | int]) -> list[str]:
    """The valid keys of the model that a location inside another model leads to."""
    found: list[Any] = [model]
    for step in loc:
        following: list[Any] = []
        for kind in found:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                for name, info in kind.model_fields.items():
                    if step in (name, info.alias):
                        following.extend(_models(info.annotation))
            else:
                following.extend(_models(kind))
        found = following or found
    names: dict[str, None] = {}
    for kind in found:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            names.update(dict.fromkeys(info.alias or name for name, info in kind.model_fields.items()))
    return list(names)


def _models(annotation: Any) -> list[Any]:
    origin = typing.get_origin(annotation)
    if origin is None:
        return [annotation] if isinstance(annotation, type) and issubclass(annotation, BaseModel) else []
    arguments = typing.get_args(annotation)
    if origin is Annotated:
        return _models(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return [model for argument in arguments for model in _models(argument)]
    return [model for argument in arguments for model in _models(argument)]
