"""A stage's decisions on the documents of one shard, as columns.

One decision per document and stage: ``keep``, ``drop``, or ``edit`` for a document that goes on with another text. At
100 MB a second some 33,000 documents pass, so nothing here is done document by document in Python, except for the few
that get evidence.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .shards import ACTIONS, DECISIONS

KEEP, DROP, EDIT = range(len(ACTIONS))

Rows = Sequence[int] | npt.NDArray[np.bool_] | npt.NDArray[np.integer[Any]]
"""Places in a shard: their numbers, or bool [documents]."""

Floats = float | Sequence[float] | npt.NDArray[np.floating[Any]]
Integers = int | Sequence[int] | npt.NDArray[np.integer[Any]]


class Verdicts:
    """Decisions on the documents of one shard; all are kept until ``drop`` or ``edit`` says otherwise.

    Attributes:
        actions: ``KEEP``, ``DROP`` or ``EDIT``, int8 [documents].
        sizes: UTF-8 bytes of each text as it came in, int64 [documents].
        sizes_after: UTF-8 bytes of each text as it goes on, int64 [documents]; a dropped document counts 0.
        scores: The value that decided, float64 [documents]; NaN where there is none.
    """

    def __init__(self, sizes: Integers, kept_rule: str) -> None:
        """Keeps every document.

        Args:
            sizes: UTF-8 bytes of each text.
            kept_rule: Rule named in the decisions of documents that no rule touches, "passed".
        """
        self.sizes = np.asarray(sizes, np.int64)
        self.sizes_after = self.sizes.copy()
        self.actions = np.full(self.sizes.size, KEEP, np.int8)
        self.scores = np.full(self.sizes.size, np.nan)
        self._rules = np.zeros(self.sizes.size, np.int32)
        self._names = [kept_rule]
        self._evidence: dict[int, Mapping[str, Any] | str] = {}

    @property
    def is_kept(self) -> npt.NDArray[np.bool_]:
        """Whether each document goes on, unchanged or edited, bool [documents]."""
        return np.asarray(self.actions != DROP)

    def drop(self, rows: Rows, rule: str, scores: Floats | None = None) -> None:
        """Drops documents; a later call wins.

        Args:
            rows: Places in the shard, integers or bool [documents].
            rule: The rule that drops them.
            scores: The values that decided, one per row, or one for all.
        """
        self._decide(rows, DROP, rule, scores)
        self.sizes_after[rows] = 0

    def edit(
        self,
        rows: Rows,
        rule: str,
        sizes_after: Integers,
        scores: Floats | None = None,
    ) -> None:
        """Records that documents go on with other texts.

        Args:
            rows: Places in the shard, integers or bool [documents].
            rule: The rule that changed them.
            sizes_after: UTF-8 bytes of the new texts, one per row.
            scores: The values that decided, one per row, or one for all.
        """
        self._decide(rows, EDIT, rule, scores)
        self.sizes_after[rows] = sizes_after

    def keep(self, rows: Rows, rule: str, scores: Floats | None = None) -> None:
        """Keeps documents as they came, for a rule worth naming ("survivor")."""
        self._decide(rows, KEEP, rule, scores)
        self.sizes_after[rows] = self.sizes[rows]

    def _decide(self, rows: Rows, action: int, rule: str, scores: Floats | None) -> None:
        if rule not in self._names:
            self._names.append(rule)
        self.actions[rows] = action
        self._rules[rows] = self._names.index(rule)
        self.scores[rows] = np.nan if scores is None else scores

    def explain(self, row: int, evidence: Mapping[str, Any] | str) -> None:
        """Gives the evidence of one document's decision; it replaces what was given before.

        Args:
            row: The document's place in the shard.
            evidence: JSON values, or their text as ``json.dumps`` with sorted keys writes it: where most documents
                have evidence, strings cost a third of the time, because the garbage collector does not look at them.
        """
        self._evidence[int(row)] = evidence

    def table(self, documents: pa.Table) -> pa.Table:
        """The decisions as a table of ``DECISIONS``.

        Args:
            documents: The shard as it came in, with ``doc_id`` and ``source``.

        Raises:
            ValueError: It has another number of documents.
        """
        count = self.sizes.size
        if documents.num_rows != count:
            raise ValueError(f"got {documents.num_rows} documents, expected the {count} that were decided on")
        evidence = np.full(count, "{}", object)
        encode = json.JSONEncoder(sort_keys=True, ensure_ascii=False).encode
        for row, found in self._evidence.items():
            evidence[row] = found if isinstance(found, str) else encode(found)
        return pa.table(
            [
                documents["doc_id"].combine_chunks(),
                documents["source"].cast(pa.string()).combine_chunks(),
                pa.DictionaryArray.from_arrays(self.actions, list(ACTIONS)).cast(pa.string()),
                pa.DictionaryArray.from_arrays(self._rules, self._names).cast(pa.string()),
                pa.array(self.scores, mask=np.isnan(self.scores)),
                pa.array(evidence, pa.string()) if self._evidence else _same("{}", count),
                pa.array(self.sizes),
                pa.array(self.sizes_after),
            ],
            schema=DECISIONS,
        )


def _same(text: str, count: int) -> pa.Array:
    return pa.repeat(pa.scalar(text), count)
