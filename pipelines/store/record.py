"""The record of a finished stage key: everything that its key was computed from, and everything that it made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from . import canonical
from .seal import seal, unseal

DIGEST = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class StageRecord:
    """A finished stage key as the store remembers it.

    Attributes:
        key: The stage key.
        stage: Its name in the spec that ran it.
        component: What it used.
        config: The semantic configuration.
        seed: The spec's seed.
        inputs: Port -> digest, or label -> digest.
        fingerprint: What it read outside the store.
        code: Digest of the code.
        modules: Module -> definition -> digest, for saying later what changed.
        outputs: Port -> {"digest", "kind"}.
        metrics: Results.
        run: The run that made it.
        started: Seconds since the epoch.
        seconds: Wall time.
        peak_bytes: Peak memory of its process.
        versions: Distribution -> version.
        adopted_from: The stage key whose outputs were accepted for changed code, or None.
        lineage: The upstream records that it read, or None.
    """

    key: str
    stage: str
    component: str
    config: Mapping[str, Any]
    seed: int
    inputs: Mapping[str, Any]
    fingerprint: Any
    code: str
    modules: Mapping[str, Mapping[str, str]]
    outputs: Mapping[str, Mapping[str, str]]
    metrics: Mapping[str, float]
    run: str
    started: float
    seconds: float
    peak_bytes: int
    versions: Mapping[str, str]
    adopted_from: str | None = None
    lineage: Any = None

    @property
    def computed_key(self) -> str:
        """The stage key of everything that the record names."""
        return canonical.stage_key(
            component=self.component,
            code=self.code,
            config=self.config,
            seed=self.seed,
            inputs=self.inputs,
            fingerprint=self.fingerprint,
            lineage=self.lineage,
        )

    def to_json(self) -> bytes:
        """The record's file."""
        return seal(asdict(self))

    @classmethod
    def from_json(cls, data: bytes) -> StageRecord:
        """Reads a record's file.

        Raises:
            ValueError: It is not a record as ``to_json`` writes it.
        """
        values = unseal(data)
        names = {field.name for field in fields(cls)}
        needed = names - {"adopted_from", "lineage"}
        if unknown := values.keys() - names:
            raise ValueError(f"it has {min(unknown)!r}, which this version does not know")
        if missing := needed - values.keys():
            raise ValueError(f"it has no {min(missing)!r}")
        record = cls(**values)
        for name in ("config", "inputs", "modules", "metrics", "versions", "outputs"):
            if not isinstance(getattr(record, name), dict):
                raise ValueError(f"its {name} are not an object")
        if not record.outputs:
            raise ValueError("it has no outputs")
        for port, output in record.outputs.items():
            if not isinstance(output, dict) or not {"digest", "kind"} <= output.keys():
                raise ValueError(f"its output {port} has no digest and kind")
            if not DIGEST.fullmatch(str(output["digest"])):
                raise ValueError(f"its output {port} has a digest that is not 64 hex digits")
        return record
