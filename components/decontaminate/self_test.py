"""Measures the recall of ``decontaminate`` on this run's data: benchmark examples are planted in documents, and sought.

Recall is counted over all planted examples. The stage is judged by those that can be found at all: "2 + 2 = 4" is
planted too, and counted in the report, but no search should drop every document that has it.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from millrace.components.contract import ComponentError, Context
from millrace.data.contamination import chains, planted
from millrace.data.contamination.planted import COPIES
from millrace.data.documents.choosing import keyed
from millrace.data.text.batch import from_texts

from .config import DecontaminateConfig
from .examples import Indexed, Numbered, rule_of

HOST_CHARACTERS = 2000
MIN_HOST_CHARACTERS = 200


@dataclass(frozen=True)
class Tested:
    """The result of the test.

    Attributes:
        examples: Examples planted, each once in every kind.
        checkable: Those of them that can be found.
        found: Kind -> planted copies found.
        found_checkable: The same, of the examples that can be found.
        missed: Benchmark -> copies of examples that can be found, and were not, of the kinds that must be.
        hosts: Documents without a plant that were searched as well.
        flagged_hosts: Those of them in which an example was found.
    """

    examples: int
    checkable: int
    found: dict[str, int]
    found_checkable: dict[str, int]
    missed: dict[str, int]
    hosts: int
    flagged_hosts: int

    @property
    def copies_recall(self) -> float:
        """Share of the copies found that any reader would call the same text, of examples that can be found."""
        return sum(self.found_checkable[kind] for kind in COPIES) / max(self.checkable * len(COPIES), 1)


class Planted(NamedTuple):
    """Documents of the sample with examples in them, and without.

    Attributes:
        chosen: The examples.
        texts: A document for every example and kind.
        plants: Example and kind of each.
        hosts: Documents without a plant, as they are.
    """

    chosen: list[int]
    texts: list[str]
    plants: list[tuple[int, str]]
    hosts: list[str]


def plant(examples: Numbered, sample: Sequence[str], count: int, seed: int) -> Planted:
    """Plants some examples, the same whatever their order, into documents of the sample."""
    ranks = [keyed(seed, "plant", *names) for names in examples.ids]
    chosen = sorted(range(len(ranks)), key=ranks.__getitem__)[:count]
    hosts = [text for text in sample if len(text) >= MIN_HOST_CHARACTERS] or list(sample)
    hosts = [text[:HOST_CHARACTERS] for text in hosts]
    texts, plants = [], []
    for example in chosen:
        name = "/".join(examples.ids[example])
        draw = random.Random(keyed(seed, "layout", name))
        printed = planted.layout(examples.fields[example], examples.answers[example], draw)
        for kind in planted.KINDS:
            draw = random.Random(keyed(seed, kind, name))
            host = draw.choice(hosts)
            texts.append(planted.insert(host, planted.changed(printed, kind, draw), draw))
            plants.append((example, kind))
    return Planted(chosen, texts, plants, hosts[: len(texts)])


def run(config: DecontaminateConfig, examples: Numbered, made: Planted, indexed: Indexed) -> Tested:
    """Searches documents with examples planted, and without."""
    rule = rule_of(config)
    matches = chains.match(indexed.index, from_texts(made.texts), rule)
    pairs = set(zip(matches.rows.tolist(), matches.examples.tolist(), strict=True))

    found, found_checkable, missed = Counter[str](), Counter[str](), Counter[str]()
    for row, (example, kind) in enumerate(made.plants):
        is_found = (row, example) in pairs
        found[kind] += is_found
        if indexed.is_checkable[example]:
            found_checkable[kind] += is_found
            if kind in planted.COPIES and not is_found:
                missed[examples.ids[example][0]] += 1
    flagged = chains.match(indexed.index, from_texts(made.hosts), rule)
    return Tested(
        examples=len(made.chosen),
        checkable=int(indexed.is_checkable[made.chosen].sum()) if made.chosen else 0,
        found={kind: found[kind] for kind in planted.KINDS},
        found_checkable={kind: found_checkable[kind] for kind in planted.KINDS},
        missed=dict(missed.most_common()),
        hosts=len(made.hosts),
        flagged_hosts=len(set(flagged.rows.tolist())),
    )


def report_metrics(context: Context, tested: Tested) -> None:
    """``recall.KIND`` over all planted examples, ``recall`` as ``min_recall`` sees it, and what should not be found."""
    for kind, count in tested.found.items():
        name = "false_positives.shuffled" if kind == "shuffled" else f"recall.{kind}"
        context.metric(name, count / max(tested.examples, 1))
    context.metric("recall", tested.copies_recall)
    context.metric("unplanted_share", tested.flagged_hosts / max(tested.hosts, 1))


def check(config: DecontaminateConfig, tested: Tested) -> None:
    """Fails when planted copies are not found.

    Raises:
        ComponentError: None of the planted examples can be told from chance, or the recall is below ``min_recall``.
    """
    if not tested.examples or not config.min_recall:
        return
    if not tested.checkable:
        raise ComponentError(
            f"decontaminate: got {tested.examples} benchmark examples that are all too short or too common to be told "
            f"from chance, expected some with about four rare words ({config.min_score:g} bits, min_score): lower "
            "min_score, or set min_recall: 0 to go on unchecked"
        )
    recall = tested.copies_recall
    if recall < config.min_recall:
        kinds = ", ".join(
            f"{kind} {tested.found_checkable[kind] / tested.checkable:.1%}" for kind in tested.found_checkable
        )
        missed = ", ".join(f"{name} ({count})" for name, count in list(tested.missed.items())[:5])
        raise ComponentError(
            f"decontaminate: found {recall:.1%} of the planted copies of {tested.checkable} examples ({kinds}), "
            f"expected at least {config.min_recall:.1%} (min_recall) of those that differ at most in case, punctuation "
            f"and white space; most were missed of {missed}: lower min_coverage or min_score, raise "
            "max_document_frequency if documents of one kind fill the corpus, or lower min_recall"
        )
