"""The ablation finds the source that helps, ends with the same bytes after a kill, and feeds ``pretrain``."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tests.small_training import files

from millrace.components.ablate_mixture.proxies import Proxies
from millrace.components.contract import ComponentError
from millrace.data.tokenizer.tokenizer import Tokenizer
from millrace.data.training import streams as token_stream
from millrace.model.losses.next_token import NextTokenLoss

SHAPE = {"layers": 1, "model_size": 32, "heads": 2, "kv_heads": 1, "head_size": 16, "feed_forward_size": 48}
CONFIG: dict[str, Any] = {
    "model": SHAPE,
    "tokens": 8 * 32 * 12,
    "sequence_length_tokens": 32,
    "batch_size": 8,
    "learning_rate": 0.02,
    "warmup_steps": 2,
    "checkpoint_every_steps": 4,
    "max_epochs": 20,
    "samples": 7,
}


def texts() -> dict[str, str]:
    """Sentences that the held-out text is made of, others that are no help, and letters without order."""
    draw = random.Random(0)
    nouns, verbs = ["count", "name", "value", "index", "path"], ["Return", "Check", "Set", "Find"]
    useful = " ".join(f"{draw.choice(verbs)} the {draw.choice(nouns)} of the items." for _ in range(400))
    code = " ".join(f"def {draw.choice(verbs).lower()}_{draw.choice(nouns)}(items):" for _ in range(400))
    noise = "".join(draw.choice("abcdefghijklmnopqrstuvwxyz (.):_") for _ in range(9_000))
    return {"useful": useful, "code": code, "noise": noise}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, tiny: SimpleNamespace) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("ablate")
    tokenizer = Tokenizer.load(tiny.tokenizer)
    entries = {}
    for source, text in texts().items():
        ids = np.asarray([*tokenizer.encode(text), tokenizer.eos_id])
        spans = pa.table({"doc_id": ["0" * 32], "start": [0], "length": [len(ids)]})
        entries[source] = token_stream.write_source(
            folder / "tokens", source, [ids], spans, tokenizer.vocab_size
        )
    token_stream.write_index(folder / "tokens", tokenizer.vocab_size, entries)
    held_out = "Find the name of the items. Set the path of the items. Check the value of the items. " * 6
    (folder / "benchmarks").mkdir()
    row = {"id": "a", "text": held_out, "source": "useful"}
    (folder / "benchmarks" / "held_out.jsonl").write_text(json.dumps(row) + "\n")
    entry = {"name": "held_out", "type": "text", "examples": 1, "file": "held_out.jsonl"}
    (folder / "benchmarks" / "index.json").write_text(json.dumps({"benchmarks": [entry]}))
    return {"tokens": folder / "tokens", "tokenizer": tiny.tokenizer, "benchmarks": folder / "benchmarks"}


@pytest.fixture(scope="module")
def finished() -> dict[str, SimpleNamespace]:
    """Runs that several tests look at."""
    return {}


@pytest.fixture
def done(
    run_component: Any, corpus: dict[str, Path], finished: dict[str, SimpleNamespace]
) -> SimpleNamespace:
    """A run of ``CONFIG`` from start to end."""
    if not finished:
        finished["done"] = run_component("ablate_mixture", CONFIG, corpus)
    return finished["done"]


def report_of(done: SimpleNamespace) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((done.outputs["report"] / "report.json").read_text())
    return report


def proposed(done: SimpleNamespace) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((done.outputs["mixture"] / "weights.json").read_text())
    return found


def test_it_puts_weight_on_the_source_that_helps(done: SimpleNamespace) -> None:
    """More than the prior has, and the held-out text is better predicted."""
    found, report = proposed(done), report_of(done)
    assert found["weights"]["useful"] > found["prior"]["weights"]["useful"] + 0.2
    assert found["weights"]["noise"] < found["prior"]["weights"]["noise"] - 0.2
    assert found["verified"]["objective"] < 0.95 * found["prior"]["objective"]
    assert found["verified"]["objective"] == min(run["objective"] for run in report["runs"])
    assert done.metrics["objective"] == pytest.approx(found["verified"]["objective"], abs=1e-4)
    assert done.metrics["prior_objective"] == pytest.approx(found["prior"]["objective"], abs=1e-4)
    assert done.metrics["proxies"] == len(report["runs"]) == 9


def test_the_prior_is_proportional_to_tokens_and_samples_explore_beyond_it(
    done: SimpleNamespace, corpus: dict[str, Path]
) -> None:
    tokens = token_stream.TokenStreams.load(corpus["tokens"]).source_tokens
    runs = report_of(done)["runs"]
    assert [run["name"] for run in runs] == ["prior", *(f"sample {n}" for n in range(1, 8)), "proposal 1"]
    for source, weight in runs[0]["weights"].items():
        assert weight == pytest.approx(tokens[source] / sum(tokens.values()), abs=1e-4)
        assert np.ptp([run["weights"][source] for run in runs]) > 0.3


def test_live_metrics_count_steps_through_all_proxies(done: SimpleNamespace) -> None:
    """A loss every ten steps and at every proxy's end, an objective for each proxy, progress up to the whole."""
    metrics = [event for event in done.events if event["event"] == "metric" and event["step"] is not None]
    steps = {
        name: [event["step"] for event in metrics if event["name"] == name] for name in ("loss", "objective")
    }
    assert steps["loss"] == [12 * proxy + step for proxy in range(9) for step in (10, 12)]
    assert steps["objective"] == list(range(1, 10))
    progress = [(event["done"], event["total"]) for event in done.events if event["event"] == "progress"]
    assert progress[-1] == (9 * 8 * 32 * 12, 9 * 8 * 32 * 12)
    assert progress == sorted(progress)


class Killed(BaseException):
    """Stands for a kill: nothing in a component catches it."""


def test_an_ablation_that_is_killed_twice_ends_with_the_same_bytes(
    run_component: Any,
    corpus: dict[str, Path],
    done: SimpleNamespace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the fifth proxy and in the proposal: finished proxies are read, and the current one resumes."""
    read, asked = token_stream.TokenStreams.read, []
    proxy = 8 * (12 + 1)  # rows of its steps, and of the first batch once more to learn its shape
    kills = [proxy * 5 - 8 * 3, proxy * 9]

    def dying(self: Any, *span: Any) -> Any:
        asked.append(span)
        if len(asked) in kills:
            raise Killed
        return read(self, *span)

    monkeypatch.setattr(token_stream.TokenStreams, "read", dying)
    for _ in kills:
        with pytest.raises(Killed):
            run_component("ablate_mixture", CONFIG, corpus, work=tmp_path / "work")
    resumed = run_component("ablate_mixture", CONFIG, corpus, work=tmp_path / "work")
    # After each kill a shape is learnt once more, and the steps since the last of the checkpoints are trained again.
    assert len(asked) <= 9 * proxy + len(kills) * 8 * (1 + 4 + 1)
    assert files(resumed.outputs) == files(done.outputs)


def test_all_proxies_use_one_compiled_step(
    run_component: Any, corpus: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each looks at the loss once for the names of its metrics; only the first traces it for its step."""
    call, traces = NextTokenLoss.__call__, []

    def counted(self: Any, *arguments: Any) -> Any:
        traces.append(arguments)
        return call(self, *arguments)

    monkeypatch.setattr(NextTokenLoss, "__call__", counted)
    candidates = [{"useful": 1, "code": 1}, {"useful": 1}]
    run_component("ablate_mixture", CONFIG | {"candidates": candidates, "samples": 0}, corpus)
    assert len(traces) == 3 + 1


def test_given_candidates_are_measured_and_the_best_is_kept_without_a_fit(
    run_component: Any, corpus: dict[str, Path]
) -> None:
    """Too few for a regression, so the best of them it is, and the report says so; what is left out has weight zero."""
    config = CONFIG | {
        "candidates": [{"useful": 3, "code": 1}, {"code": 1}, {"code": 2}],
        "samples": 0,
        "prior": {"useful": 1, "code": 3},
    }
    done = run_component("ablate_mixture", config, corpus)
    found, report = proposed(done), report_of(done)
    assert found["weights"] == {"useful": 0.75, "code": 0.25, "noise": 0.0}
    assert found["predicted"] == {"predicted": None, "error": None}
    assert [run["name"] for run in report["runs"]] == ["prior", "candidate 1", "candidate 2"]
    assert "3 mixtures are too few" in report["doubts"][0]
    assert "3 mixtures are too few" in (done.outputs["report"] / "report.html").read_text()


def test_as_many_proposals_are_verified_as_asked(
    run_component: Any, corpus: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each is another mixture, and the last is close to the best of a law of the weights, which stands for training."""

    def law(self: Proxies, number: int, weights: dict[str, float]) -> dict[str, float]:
        (tmp_path / "work" / "proxies").mkdir(parents=True, exist_ok=True)
        return {"useful": 2 + math.exp(-4 * weights["useful"]) + math.exp(-2 * weights["code"])}

    monkeypatch.setattr(Proxies, "_trained", law)
    config = CONFIG | {"samples": 40, "verify": 3}
    runs = report_of(run_component("ablate_mixture", config, corpus, work=tmp_path / "work"))["runs"]
    proposals = [run for run in runs if run["is_proposal"]]
    assert len(proposals) == 3
    assert len({str(run["weights"]) for run in runs}) == len(runs) == 1 + 40 + 3
    # Where the slopes are equal: 4 exp(-4 u) = 2 exp(-2 (1 - u)).
    assert proposals[-1]["weights"]["useful"] == pytest.approx((2 + math.log(2)) / 6, abs=0.05)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prior": {"prose": 1}}, "'prose', expected sources of the tokens: code, noise, useful"),
        ({"candidates": [{"useful": 1, "prose": 1}]}, "'prose'"),
        ({"objective": {"web": 1}}, "'web', expected held-out sources: useful"),
        ({"sequence_length_tokens": 100_000}, "of a row; lower sequence_length_tokens"),
        (
            {"candidates": [{"noise": 1}], "max_epochs": 0.2},
            r"candidates\[0\] gives 'noise' 1, expected 0 \(min_weight\) to",
        ),
        ({"target_tokens": 10_000_000}, "sum to less than one .* raise it, lower tokens, target_tokens"),
        ({"min_weight": 0.4}, "min_weight 0.4 for 3 sources"),
    ],
)
def test_what_does_not_fit_is_named_before_any_training(
    run_component: Any, corpus: dict[str, Path], change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ComponentError, match=message):
        run_component("ablate_mixture", CONFIG | change, corpus, work=tmp_path / "work")
    assert not list((tmp_path / "work").iterdir())


def test_held_out_text_is_needed(run_component: Any, corpus: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text(json.dumps({"benchmarks": []}))
    with pytest.raises(ComponentError, match="without a text benchmark"):
        run_component("ablate_mixture", CONFIG, corpus | {"benchmarks": tmp_path})


PHASE = {"until_tokens": 8 * 32 * 6, "sequence_length_tokens": 32}
PRETRAIN: dict[str, Any] = {
    "model": SHAPE,
    "batch_size": 8,
    "max_epochs": 50,
    "phases": [
        PHASE | {"weights": "proposed"},
        PHASE | {"until_tokens": 8 * 32 * 12, "weights": {"code": 1}},
    ],
}


def test_pretrain_takes_the_proposed_weights(
    run_component: Any, corpus: dict[str, Path], done: SimpleNamespace
) -> None:
    """The same model, byte for byte, as with the numbers written out."""
    inputs = {port: corpus[port] for port in ("tokens", "tokenizer")}
    with_mixture = run_component("pretrain", PRETRAIN, inputs | {"mixture": done.outputs["mixture"]})
    phases = [PRETRAIN["phases"][0] | {"weights": proposed(done)["weights"]}, PRETRAIN["phases"][1]]
    written_out = run_component("pretrain", PRETRAIN | {"phases": phases}, inputs)
    assert files(with_mixture.outputs) == files(written_out.outputs)


def test_proposed_weights_and_a_mixture_need_each_other(
    run_component: Any, corpus: dict[str, Path], done: SimpleNamespace
) -> None:
    inputs = {port: corpus[port] for port in ("tokens", "tokenizer")}
    with pytest.raises(ComponentError, match="proposed in phase 0 and no input mixture"):
        run_component("pretrain", PRETRAIN, inputs)
    numbers = PRETRAIN | {"phases": PRETRAIN["phases"][1:]}
    with pytest.raises(ComponentError, match="got an input mixture and numbers"):
        run_component("pretrain", numbers, inputs | {"mixture": done.outputs["mixture"]})
