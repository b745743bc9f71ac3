"""The explicit registry of components: the word a spec uses -> the module that defines ``COMPONENT``.

Modules are imported one by one when asked for, so that a spec pays only for the components it uses.
"""

from __future__ import annotations

import importlib

from .contract import Component

COMPONENTS: dict[str, str] = {
    "ingest": "ingest",
    "train_classifier": "train_classifier",
    "filter": "filter",
    "dedup": "dedup",
    "dedup_spans": "dedup_spans",
    "benchmarks": "benchmarks",
    "decontaminate": "decontaminate",
    "train_tokenizer": "train_tokenizer",
    "tokenize": "tokenize",
    "ablate_mixture": "ablate_mixture",
    "pretrain": "pretrain",
    "teacher_logits": "teacher_logits",
    "distill": "distill",
    "instructions": "instructions",
    "sft": "sft",
    "reward": "reward",
    "rlhf": "rlhf",
    "evaluate": "evaluate",
    "gate": "gate",
    "export": "export",
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
