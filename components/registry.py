"""The explicit registry of components: the word a spec uses -> the module that defines ``COMPONENT``.

Modules are imported one by one when asked for, so that a spec pays only for the components it uses, and the work of a
component only where it is done.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from .contract import Component, Context, Inputs

COMPONENTS: dict[str, str] = {
    name: f"{name}.config"
    for name in (
        "ingest",
        "train_classifier",
        "filter",
        "dedup",
        "dedup_spans",
        "benchmarks",
        "decontaminate",
        "train_tokenizer",
        "tokenize",
        "ablate_mixture",
        "pretrain",
        "teacher_logits",
        "distill",
        "instructions",
        "sft",
        "reward",
        "rlhf",
        "evaluate",
        "gate",
        "export",
    )
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


def run_of(component: Component) -> Callable[[Context, Any, Inputs], None]:
    """The function that does a component's work; imports what it needs."""
    module, _, name = component.run.partition(":")
    run: Callable[[Context, Any, Inputs], None] = getattr(importlib.import_module(module), name)
    return run


def modules_of(name: str) -> tuple[str, ...]:
    """The modules that a component's bytes come from, less what they import: of its configuration and of its work."""
    return f"components.{COMPONENTS[name]}", get(name).run.partition(":")[0].removeprefix("millrace.")
