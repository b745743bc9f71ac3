"""The order of a training is worked out once and kept in the index."""

from __future__ import annotations

import sqlite3
from types import SimpleNamespace

import pytest

from millrace.pipelines.index import lineage
from millrace.pipelines.trace import documents, order, training
from millrace.pipelines.trace.errors import TraceError
from millrace.pipelines.trace.runs import Run, open_run


def test_the_order_of_a_training_is_worked_out_once(
    small_store: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = []
    for _ in range(2):
        with open_run(small_store.store) as run:
            answers.append((training.step(run, 3), documents.document(run, "lib/api.py").readings))
        monkeypatch.setattr(order, "recorded_config", None)
    assert answers[0] == answers[1]


def test_an_index_that_is_being_written_still_answers(small_store: SimpleNamespace) -> None:
    with (
        open_run(small_store.store) as run,
        sqlite3.connect(small_store.store.scratch / lineage.FILE) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        assert training.step(run, 3).rows
        other.rollback()
    other.close()


def test_stages_that_train_on_tokens_are_named_with_them(run: Run, small_store: SimpleNamespace) -> None:
    ((stage, tokens),) = order.training_stages(run)
    assert (stage.stage, tokens) == ("pretrain", small_store.digests["tokenize.tokens"])
    assert order.mixture_of(run, stage, tokens).total_steps == 512 // (4 * 16) + 512 // (4 * 32)


def test_a_configuration_of_another_version_is_said(run: Run) -> None:
    with pytest.raises(TraceError, match=r"does not read \(\d+ differences\).*use the version that ran it"):
        order.recorded_config(run, "pretrain", "pretrain", {"phases": [], "invented": 1})
