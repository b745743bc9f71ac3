"""The component contract: the parts of every stage.

A component is one frozen configuration, typed input and output ports and one ``run``. It is a pure function of
(config, inputs, seed): the same input gives the same bytes, so the store can reuse outputs by content. A component is a
folder: ``config.py`` holds the configuration and the ports, imports only the standard library and pydantic, and names
the run; ``stage.py`` does the work and imports jax, pyarrow and Beam at its top. Planning (which must take well under a
second) loads every ``config.py`` and no ``stage.py``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

Kind = Literal[
    "documents",
    "decisions",
    "signatures",
    "benchmarks",
    "classifier",
    "tokenizer",
    "tokens",
    "mixture",
    "chats",
    "preferences",
    "model",
    "states",
    "teacher_logits",
    "reward_model",
    "rollouts",
    "report",
    "package",
]


class Config(BaseModel):
    """Base of every component's configuration: immutable, unknown keys forbidden."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def runtime(default: Any, **constraints: Any) -> Any:
    """A configuration field that cannot change the output's bytes (workers, log cadence, device layout).

    It stays out of the stage's identity, so changing it reruns nothing.
    """
    return Field(default, json_schema_extra={"semantic": False}, **constraints)


def is_semantic(info: FieldInfo) -> bool:
    """Whether the field counts towards the stage's identity."""
    extra = info.json_schema_extra
    return not (isinstance(extra, dict) and extra.get("semantic") is False)


class ComponentError(Exception):
    """A stage cannot go on and the user can mend it; the message gives the value got, the one expected, and the remedy.

    It is shown without a traceback, and the run ends with exit code 1.
    """


class GateClosed(ComponentError):
    """A gate's rule does not hold: the run stops with exit code 3 and nothing downstream runs."""


@dataclass(frozen=True)
class Port:
    """A named, typed input or output of a component.

    Attributes:
        kind: The artifact kind that flows through it.
        summary: One line for ``millrace components``.
        optional: An input that a spec may leave out.
        many: An input that takes a mapping ``{label: stage.port}`` and hands over ``{label: Artifact}``.
    """

    kind: Kind
    summary: str
    optional: bool = False
    many: bool = False


@dataclass(frozen=True)
class Artifact:
    """A published, immutable folder, as a component sees it.

    Attributes:
        path: Local folder with the artifact's files (never write into it).
        kind: The artifact's type.
        digest: SHA-256 of its content, hex.
        stage: Name of the stage that produced it in this spec.
    """

    path: Path
    kind: str
    digest: str
    stage: str


@dataclass(frozen=True)
class Inputs:
    """The artifacts that a stage was given, by port name."""

    ports: Mapping[str, Artifact | Mapping[str, Artifact]]

    def one(self, port: str) -> Artifact:
        """The artifact of a required single port."""
        value = self.ports[port]
        if not isinstance(value, Artifact):
            raise TypeError(f"port {port} takes many artifacts, use inputs.many({port!r})")
        return value

    def maybe(self, port: str) -> Artifact | None:
        """The artifact of an optional single port, or None when the spec leaves it out."""
        return self.one(port) if port in self.ports else None

    def many(self, port: str) -> Mapping[str, Artifact]:
        """The artifacts of a ``many`` port by label, in the spec's order; empty when left out."""
        value = self.ports.get(port, {})
        if isinstance(value, Artifact):
            raise TypeError(f"port {port} takes one artifact, use inputs.one({port!r})")
        return value


class Context(Protocol):
    """The services that a running stage may use besides its config and inputs.

    Attributes:
        seed: The spec's seed mixed with the component's name: an int in [0, 2**31).
        work: Private folder that survives retries and kills; checkpoints go there.
        log: Logger whose lines end in the stage's log file.
        lineage: Records of every stage upstream of this one (see ``Upstream``), in topological order; filled only for
            components that declare ``reads_lineage``.
        threads: How many shards a Beam worker should work on at once.
        host: Number of this process among those of a stage on several hosts; host 0 fills the outputs.
        memory: Descriptors of files in memory that outlive this process; none without a supervisor.
    """

    seed: int
    work: Path
    log: logging.Logger
    lineage: tuple[Upstream, ...]
    threads: int
    host: int
    memory: tuple[int, ...]

    def output(self, port: str) -> Path:
        """The empty folder to fill for an output port; published when ``run`` returns."""
        raise NotImplementedError

    def metric(self, name: str, value: float, step: int | None = None) -> None:
        """Records a metric; without a step it is a result of the stage and shown in tables."""

    def progress(self, done: float, total: float, unit: str = "") -> None:
        """Reports progress; cheap enough to call for every batch."""

    def beam(self) -> Any:
        """A new ``apache_beam.Pipeline`` on the runner that the spec names (in-process by default)."""


@dataclass(frozen=True)
class Upstream:
    """One stage upstream of the running one, as the model card and reports need it.

    Attributes:
        stage: The stage's name in the spec.
        component: The component it uses.
        config: The resolved configuration (JSON values).
        outputs: Port name -> artifact digest.
        metrics: Result metrics of the stage (those without a step).
    """

    stage: str
    component: str
    config: Mapping[str, Any]
    outputs: Mapping[str, str]
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Component:
    """A stage's code, named by ``uses`` in a spec.

    Attributes:
        name: The word that specs use.
        summary: One line for ``millrace components``.
        config: The configuration model.
        inputs: Port name -> port.
        outputs: Port name -> port.
        run: Where the work is, as ``millrace.components.NAME.stage:run``: planning names it and does not import it.
            ``run(context, config, inputs)`` fills ``context.output(port)`` for every output port.
        key_metric: The result metric that the closing table shows.
        misfits: Mistakes of a configuration and the names of a spec's inputs taken together, a sentence each;
            asked before anything runs.
        fingerprint: For components that read something outside the store (sources, a user's files): a JSON value
            that changes when that does. It is part of the stage's identity and evaluated at plan time, so it must be
            fast: names, versions, sizes and modification times, not contents.
        reads_lineage: Whether ``run`` reads ``context.lineage``, which then is part of the stage's identity.
        gate: Whether a failure of this component blocks deployment by design.
        seed_of: The component whose seed it sees, where both must draw the same; its own by default.
        several_hosts: Whether ``run`` may be one of several processes that JAX has joined.
        keeps_memory: Whether a configuration wants ``context.memory``, which then is there on one host, too.
    """

    name: str
    summary: str
    config: type[Config]
    outputs: Mapping[str, Port]
    run: str
    inputs: Mapping[str, Port] = field(default_factory=dict)
    key_metric: str | None = None
    misfits: Callable[[Any, Collection[str]], Iterable[str]] | None = None
    fingerprint: Callable[[Any], Any] | None = None
    reads_lineage: bool = False
    gate: bool = False
    seed_of: str | None = None
    several_hosts: bool = False
    keeps_memory: Callable[[Any], bool] | None = None
