"""Drops documents that are not worth training on by measurable rules, and repairs others, by lists of rules per source.

A rule measures values, which its bounds limit, or edits texts, or both. The rules of a source run in the order of the
spec; each sees the texts as the ones before left them. A document is dropped at the first bound that it breaks, and its
decision names that bound, the value and the threshold; a document that goes on with a changed text is an ``edit``, and
its decision counts each kind of edit. Sources without rules pass unchanged: Gopher's prose rules would drop every
licence, and code rules say nothing about prose. The rules of the source ``"*"`` hold for every source that has no list
of its own.

Layout: ``rule`` defines the input and result of a rule, ``rules`` holds a file for each rule and the registry,
``shard`` the work on one shard. A new rule ``example`` is one file and one line:

- ``rules/example.py`` has ``class Example(Rule)`` with ``rule: Literal["example"]``, the fields that a spec may set,
  of which ``min_<value>`` and ``max_<value>`` bound a value that it measures, and ``apply(self, rows) -> Outcome``,
  which measures (``Outcome({"<value>": float64 [documents]})``) or edits (``Outcome({}, edited)``) texts. The file is
  loaded whenever a spec is planned, so ``apply`` imports numpy and the like itself; work of more than a few lines
  goes to ``data/filters/example.py``.
- ``rules/registry.py`` imports it and names it in ``AnyRule``.

``rows`` also gives the words and lines (``rows.structure``), the other columns (``rows.column("uri")``) and artifacts
(``rows.artifacts``); an ``Outcome`` may set the ``lang`` column, which later rules see, and add evidence to decisions.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from millrace.components.contract import ComponentError, Context, Inputs
from millrace.components.shards.map import map_shards, report_tallies, sum_tallies
from millrace.data.documents.shards import shard_paths

from .config import FilterConfig
from .report import write_report
from .rule import Rows, Rule, bounds_of
from .shard import ALL_SOURCES, filter_shard

__all__ = ["bounds_of", "measure", "run"]


def measure(rule: Rule, batch: Any) -> Mapping[str, np.ndarray]:
    """A rule's measured values for a batch of texts, each float64 [documents]."""
    return rule.apply(Rows(batch)).values


def run(context: Context, config: FilterConfig, inputs: Inputs) -> None:
    """Filters every shard."""
    paths = shard_paths(inputs.one("documents").path)
    folders = (str(context.output("documents")), str(context.output("decisions")))
    tasks = [(index, str(path)) for index, path in enumerate(paths)]
    artifacts = {label: given.path for label, given in inputs.many("classifiers").items()}
    rules = {source: tuple(rule.resolved(artifacts) for rule in own) for source, own in config.rules.items()}
    work = partial(filter_shard, rules, artifacts, folders)
    results = map_shards(context, tasks, work, "FilterDocuments")
    tallies = sum_tallies(result["tallies"] for result in results)
    unknown = sorted(set(config.rules) - set(tallies) - {ALL_SOURCES})
    if unknown and tallies:
        raise ComponentError(
            f"got rules for source {unknown[0]!r}, expected one of the sources that came in: {', '.join(tallies)}"
        )
    write_report(context.output("report"), rules, tallies, (result["findings"] for result in results))
    report_tallies(context, tallies, max_drop_fraction=config.max_drop_fraction)
