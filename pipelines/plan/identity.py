"""Identity: the stage key, which says when a stage's outputs can be reused.

stage key = SHA-256 of canonical JSON {component, code, config, seed, inputs, and, where the component declares them,
the fingerprint of what it reads outside the store and the lineage that it reads}. Inputs count by content, not by
who made them, so a rerun upstream that gives the same bytes reruns nothing downstream. The labels of a port that takes
many count in the spec's order, because a component sees them in it.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millrace.components import registry
from millrace.components.contract import Upstream
from millrace.pipelines.store import canonical

from .code_identity import CodeIdentity, CodeIndex
from .semantic import semantic

if TYPE_CHECKING:  # a stage's process has no use for the spec's models, which take 30 ms to make
    from millrace.pipelines.spec.models import Node

InputDigests = Mapping[str, str | Mapping[str, str]]


@dataclass(frozen=True)
class Identity:
    """Everything that a stage's bytes depend on.

    Attributes:
        component: The component's name.
        code: Its code.
        config: The semantic configuration, JSON values.
        seed: The spec's seed.
        inputs: Port -> artifact digest, or label -> digest for ports that take many.
        fingerprint: What the component reads outside the store, or None.
        lineage: The upstream records that the component reads, or None.
    """

    component: str
    code: CodeIdentity
    config: Mapping[str, Any]
    seed: int
    inputs: InputDigests
    fingerprint: Any = None
    lineage: Any = None

    @property
    def key(self) -> str:
        """The stage key, 64 hex digits."""
        return canonical.stage_key(
            component=self.component,
            code=self.code.digest,
            config=self.config,
            seed=self.seed,
            inputs=self.inputs,
            fingerprint=self.fingerprint,
            lineage=self.lineage,
        )


def identify(
    node: Node,
    seed: int,
    inputs: InputDigests,
    lineage: tuple[Upstream, ...],
    code: CodeIndex,
    folder: Path = Path(),
) -> Identity:
    """The identity of a stage whose inputs are known.

    Args:
        node: The stage.
        seed: The spec's seed.
        inputs: Digests of its input artifacts.
        lineage: Records of the stages upstream; used only by components that read them.
        code: Where module digests come from.
        folder: The spec's folder, which relative paths in configurations start from.
    """
    component = node.component
    fingerprint = None
    if component.fingerprint is not None:
        with contextlib.chdir(folder):
            fingerprint = component.fingerprint(node.config)
    records = [asdict(record) for record in lineage] if component.reads_lineage else None
    return Identity(
        component=component.name,
        code=code.of(*registry.modules_of(component.name)),
        config=semantic(node.config),
        seed=seed,
        inputs=inputs,
        fingerprint=fingerprint,
        lineage=records,
    )


def stage_seed(seed: int, component: str) -> int:
    """The seed that a component sees: the spec's, mixed with the component's name so that stages differ.

    A component that must draw as another one does (``Component.seed_of``) sees the other's.
    """
    name = registry.get(component).seed_of or component
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:4], "big") & 0x7FFFFFFF
