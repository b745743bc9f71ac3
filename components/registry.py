"""The explicit registry of components: the word a spec uses -> the module that defines ``COMPONENT``.

Modules are imported one by one when asked for, so that a spec pays only for the components it uses.
"""

from __future__ import annotations

import importlib

from .contract import Component

COMPONENTS: dict[str, str] = {
    "ingest": "ingest.stage",
    "train_classifier": "train_classifier.stage",
    "filter": "filter.stage",
    "dedup": "dedup.stage",
    "dedup_spans": "dedup_spans.stage",
    "benchmarks": "benchmarks.stage",
    "decontaminate": "decontaminate.stage",
    "train_tokenizer": "train_tokenizer.stage",
    "tokenize": "tokenize.stage",
    "ablate_mixture": "ablate_mixture.stage",
    "pretrain": "pretrain.stage",
    "teacher_logits": "teacher_logits.stage",
    "distill": "distill.stage",
    "instructions": "instructions.stage",
    "sft": "sft.stage",
    "reward": "reward.stage",
    "rlhf": "rlhf.stage",
    "evaluate": "evaluate.stage",
    "gate": "gate.stage",
    "export": "export.stage",
}


def get(name: str) -> Component:
    """The component that specs call ``name``.

    Raises:
        KeyError: No component has this name.
    """
    module = importlib.import_module(f".{COMPONENTS[name]}", __package__)
    component: Component = module.COMPONENT
    return component


def names() -> tuple[str, ...]:
    """Every component's name, in the order of the reference pipeline."""
    return tuple(COMPONENTS)
