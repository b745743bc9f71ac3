"""Configuration and ports of ``filter``."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from pydantic import Field

from millrace.components.contract import Component, Config, Port
from millrace.components.filter.rules.classifier import Classified
from millrace.components.filter.rules.registry import AnyRule

from .rule import Fraction


class FilterConfig(Config):
    """The rules of each source."""

    rules: dict[str, tuple[AnyRule, ...]] = Field(
        description='Source -> its rules, in order; "*": every source that is not named.'
    )
    max_drop_fraction: Fraction = Field(
        default=0.5, description="The stage fails when more documents than this go."
    )


def fingerprint(config: FilterConfig) -> list[list[Any]]:
    """Addresses, sizes and modification times of the files that rules read."""
    paths = sorted({path for rules in config.rules.values() for rule in rules for path in rule.files})
    if not paths:
        return []
    from millrace.data.sources import files

    return [list(entry) for entry in files.fingerprint(paths)]


def misfits(config: FilterConfig, ports: Collection[str]) -> Iterator[str]:
    """Rules that ask a classifier, when the stage is given none."""
    asked = sorted(
        {rule.classifier for rules in config.rules.values() for rule in rules if isinstance(rule, Classified)}
    )
    if asked and "classifiers" not in ports:
        yield (
            f"got the rule classifier with {', '.join(asked)}, expected the input classifiers: add "
            f"`classifiers: {{{asked[0]}: STAGE.classifier}}` to the stage's inputs"
        )


COMPONENT = Component(
    name="filter",
    summary="Drop documents that quality, repetition and code rules reject, per source.",
    config=FilterConfig,
    inputs={
        "documents": Port("documents", "What to filter."),
        "classifiers": Port(
            "classifier", "What the rule classifier asks, by any label.", optional=True, many=True
        ),
    },
    outputs={
        "documents": Port("documents", "What every rule of its source lets pass."),
        "decisions": Port("decisions", "Per document: passed, or the rule, its value and its threshold."),
        "report": Port("report", "What each rule dropped and cut, histograms, examples near each threshold."),
    },
    run="millrace.components.filter.stage:run",
    key_metric="drop_fraction",
    misfits=misfits,
    fingerprint=fingerprint,
)
