"""A proxy's figures follow those of the proxies before, and a result of other weights is not taken for its own."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from millrace.components.ablate_mixture.config import AblateConfig
from millrace.components.ablate_mixture.proxies import Proxies, ProxyContext, in_words
from millrace.components.contract import Inputs
from millrace.data.mixing.bounds import within
from millrace.pipelines.stages.context import StageContext


@pytest.fixture
def events() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def context(tmp_path: Path, events: list[dict[str, Any]]) -> StageContext:
    return StageContext(seed=3, work=tmp_path, outputs={}, emit=events.append, log=logging.getLogger("proxy"))


def test_a_proxys_steps_and_progress_are_parts_of_the_whole(
    context: StageContext, events: list[dict[str, Any]]
) -> None:
    """The third of five proxies of ten steps: step 4 is the 24th, and results and other metrics are not passed on."""
    proxy = ProxyContext(context, 2, 5, 10)
    proxy.metric("loss", 1.5, 4)
    proxy.metric("mfu", 0.5, 4)
    proxy.metric("loss", 1.0)
    proxy.progress(40, 100, "tokens")
    metrics = [(e["name"], e["value"], e["step"]) for e in events if e["event"] == "metric"]
    assert metrics == [("loss", 1.5, 24)]
    assert [(e["done"], e["total"]) for e in events if e["event"] == "progress"] == [(240, 500)]
    assert (proxy.seed, proxy.work) == (3, context.work / "proxies" / "00002")
    with pytest.raises(NotImplementedError, match="expected none"):
        proxy.output("model")


def test_a_known_result_is_read_if_it_is_of_the_same_weights(
    context: StageContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bits per byte come from the file and nothing is trained; of other weights they would be."""
    trained = []

    def train(self: Proxies, number: int, weights: dict[str, float]) -> dict[str, float]:
        trained.append(weights)
        return {"news": 9.0}

    monkeypatch.setattr(Proxies, "_trained", train)
    folder = context.work / "proxies"
    folder.mkdir()
    kept = {"weights": {"a": 0.25, "b": 0.75}, "bits_per_byte": {"news": 2.5}}
    (folder / "00000.json").write_text(json.dumps(kept))
    config = AblateConfig.model_validate({"tokens": 100, "samples": 1})

    def proxies() -> Proxies:
        return Proxies(context, config, Inputs({}), {"news": (1, [])}, within({"a": 1, "b": 1}), 1)

    assert list(proxies().measure("prior", np.asarray([0.25, 0.75]))) == [2.5]
    assert not trained
    assert list(proxies().measure("prior", np.asarray([0.5, 0.5]))) == [9.0]
    assert trained == [{"a": 0.5, "b": 0.5}]
    assert json.loads((folder / "00000.json").read_text())["weights"] == {"a": 0.5, "b": 0.5}


def test_weights_in_words_are_short() -> None:
    assert in_words({"a": 0.5, "b": 0.25}) == "a 0.5, b 0.25"
