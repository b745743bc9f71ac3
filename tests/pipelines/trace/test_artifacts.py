"""Tracing an artifact: up to the sources, down to the model."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import pytest

from millrace.pipelines.index import lineage
from millrace.pipelines.trace import artifacts
from millrace.pipelines.trace.errors import TraceError
from millrace.pipelines.trace.runs import Run


def test_an_artifact_leads_up_to_the_sources_and_down_to_the_model(small_store: SimpleNamespace) -> None:
    index = lineage.open_index(small_store.store)
    traced = artifacts.artifact(small_store.store, index, small_store.digests["dedup.documents"][:10])
    assert (traced.makers[0].stage, traced.makers[0].port) == ("dedup", "documents")
    (above,) = traced.inputs
    assert (above.stage, above.children[0].stage, above.children[0].children) == ("filter", "ingest", ())
    below = json.dumps([vars(item) for item in traced.uses], default=vars)
    stages = sorted(re.findall(r'"stage": "(\w+)"', below))
    assert stages == ["decontaminate", "decontaminate", "pretrain", "tokenize"]
    index.close()


def test_an_artifact_that_no_record_names_is_traced_by_its_manifest(small_store: SimpleNamespace) -> None:
    builder = small_store.builder
    (small_store.store.scratch / "stages" / f"{builder.keys['pretrain']}.json").unlink()
    index = lineage.open_index(small_store.store)
    traced = artifacts.artifact(small_store.store, index, small_store.digests["pretrain.model"])
    assert traced.makers[0].stage == "pretrain"
    assert [above.stage for above in traced.inputs] == ["tokenize"]
    index.close()


@pytest.mark.parametrize(
    ("digits", "message"),
    [
        ("0123456789", "has no artifact '0123456789'"),
        ("abc", "expected the first 4 digits or more"),
        ("wxyz", "expected the first 4 digits or more"),
    ],
)
def test_digits_that_name_no_artifact_are_refused(run: Run, digits: str, message: str) -> None:
    with pytest.raises(TraceError, match=message):
        artifacts.artifact(run.store, run.index, digits)


def test_a_wrong_last_digit_names_the_closest_artifact(run: Run, small_store: SimpleNamespace) -> None:
    digest = small_store.digests["pretrain.model"]
    wrong = digest[:11] + ("0" if digest[11] != "0" else "1")
    with pytest.raises(TraceError, match=f"closest: {digest[:12]}"):
        artifacts.artifact(run.store, run.index, wrong)
