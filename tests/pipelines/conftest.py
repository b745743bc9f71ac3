"""A small store made by hand: eight records through ingest, filter, dedup, decontaminate and tokenize, in one run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millrace.data.documents import shards
from millrace.pipelines.store import canonical
from millrace.pipelines.store.record import StageRecord
from millrace.pipelines.store.store import Store

Fill = Callable[[Path], object]
Decided = tuple[str, str, dict[str, Any]]
"""Action, rule and evidence of a decision."""
TEXTS = {
    "lib/api.py": "def get(url):\n    return request('get', url)\n",
    "lib/setup.py": "import setuptools\n",
    "lib/end.py": "raise SystemExit\n",
    "vendored/api.py": "def get(url):\n    return request('get',  url)\n",
    "docs/leak.md": "The quick brown fox jumps over the lazy dog and then it sleeps for a while.\n",
    "docs/table.md": "a a a a a a\n",
    "held/exam.py": "def answer():\n    return 42\n",
}


class StoreBuilder:
    """Publishes artifacts and writes the records and runs that an engine would."""

    def __init__(self, uri: str) -> None:
        self.store = Store(uri)
        self.keys: dict[str, str] = {}

    def stage(
        self,
        name: str,
        component: str,
        outputs: Mapping[str, tuple[str, Fill]],
        inputs: Mapping[str, Any] | None = None,
        *,
        run: str = "20250101-000000-aaaa",
        config: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> StageRecord:
        """One finished stage; ``outputs`` is port -> (kind, what fills the folder)."""
        identity: dict[str, Any] = {
            "component": component,
            "config": config or {},
            "seed": 0,
            "inputs": inputs or {},
            "code": f"{len(self.store.stage_keys()):02d}{name}".encode().hex().ljust(64, "0")[:64],
        }
        key = key or canonical.stage_key(**identity, fingerprint=None, lineage=None)
        common = {**identity, "stage": name, "key": key, "run": run}
        common |= {"metrics": {"documents_out": 1.0}, "versions": {}}
        made = {}
        for port, (kind, fill) in outputs.items():
            folder = self.store.work(key) / port
            folder.mkdir(parents=True)
            fill(folder)
            made[port] = {
                "digest": self.store.publish(folder, kind, {**common, "pipeline": "small", "port": port}),
                "kind": kind,
            }
        times: dict[str, Any] = {"started": 1000.0 + len(self.keys), "seconds": 1.0, "peak_bytes": 1}
        record = StageRecord(**common, **times, outputs=made, fingerprint=None, modules={})
        self.store.write_record(record)
        self.keys[name] = key
        return record

    def run(
        self, run: str = "20250101-000000-aaaa", *, status: str = "done", pipeline: str = "small"
    ) -> None:
        """A run of every stage made so far."""
        stages = {name: {"status": "ran", "key": key} for name, key in self.keys.items()}
        started = float(run[:8] + run[9:15])
        state = {
            "id": run,
            "pipeline": pipeline,
            "status": status,
            "started": started,
            "updated": started,
            "stages": stages,
        }
        self.store.write_run(run, "run.json", state)


def doc_id(uri: str) -> str:
    """The id of a whole file."""
    return shards.document_id(uri, "")


def write_documents(uris: list[str]) -> Fill:
    """Fills a documents artifact with some of ``TEXTS``."""
    rows = [
        {"doc_id": doc_id(uri), "text": TEXTS[uri], "source": "code", "lang": "python", "uri": uri, "locator": "",
         "metadata": json.dumps({"license": "MIT"})}
        for uri in uris
    ]  # fmt: skip
    return lambda folder: shards.write_shard(folder / shards.shard_name(0), shards.documents_table(rows))


def write_decisions(rules: Mapping[str, Decided]) -> Fill:
    """Fills a decisions artifact: uri -> (action, rule, evidence)."""
    rows = [
        {"doc_id": doc_id(uri), "source": "code", "action": action, "rule": rule, "score": None,
         "evidence": json.dumps(evidence), "bytes_before": 50, "bytes_after": 50 if action == "keep" else 0}
        for uri, (action, rule, evidence) in rules.items()
    ]  # fmt: skip
    return lambda folder: shards.write_shard(folder / shards.shard_name(0), shards.decisions_table(rows))


def write_tokens(spans: list[tuple[str, int, int]]) -> Fill:
    """Fills what lineage reads of a tokens artifact."""

    def fill(folder: Path) -> None:
        (folder / "code").mkdir()
        columns = {
            "doc_id": [doc_id(uri) for uri, _, _ in spans],
            "start": [s for _, s, _ in spans],
            "length": [n for *_, n in spans],
        }
        pq.write_table(pa.table(columns), folder / "code" / "documents.parquet")
        total = sum(length for *_, length in spans)
        (folder / "index.json").write_text(
            json.dumps({"vocab_size": 64, "sources": {"code": {"tokens": total}}})
        )

    return fill


@pytest.fixture
def builder(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> StoreBuilder:
    """An empty store to build in: local, or on an object store for a test that asks with ``indirect`` "remote"."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    remote = getattr(request, "param", "local") == "remote"
    return StoreBuilder(f"memory://{tmp_path.name}" if remote else str(tmp_path / "store"))


@pytest.fixture
def small_store(builder: StoreBuilder) -> SimpleNamespace:
    """The store of this module: ``store``, ``builder``, and ``digests`` by ``stage.port``, ``id(uri)``, ``texts`` by uri."""
    every = list(TEXTS)
    trained = every[:6]
    broken = {"uri": "docs/bad.md", "locator": "7", "problem": "got the byte 0xff, expected UTF-8"}
    read: dict[str, Decided] = {uri: ("keep", "read", {}) for uri in trained}
    ingest = builder.stage(
        "ingest",
        "ingest",
        {
            "documents": ("documents", write_documents(trained)),
            "held_out": ("documents", write_documents(every[6:])),
            "decisions": (
                "decisions",
                write_decisions(
                    {**read, every[6]: ("keep", "held_out", {}), "docs/bad.md": ("drop", "malformed", broken)}
                ),
            ),
        },
    )
    example = {
        "id": "q1",
        "prompt": "What does the fox do?",
        "choices": ["sleeps for a while", "runs"],
        "answer": 0,
    }
    exam = {"id": "answer", "prompt": "def answer():", "answer": "return 42", "doc_id": doc_id(every[6])}

    def write_benchmarks(folder: Path) -> None:
        (folder / "foxes.jsonl").write_text(f"{json.dumps(exam)}\n{json.dumps(example)}\n")
        (folder / "index.json").write_text(
            json.dumps(
                {
                    "benchmarks": [
                        {"name": "foxes", "type": "multiple_choice", "examples": 2, "file": "foxes.jsonl"}
                    ]
                }
            )
        )

    benchmarks = builder.stage(
        "benchmarks",
        "benchmarks",
        {"benchmarks": ("benchmarks", write_benchmarks)},
        {"held_out": ingest.outputs["held_out"]["digest"]},
    )
    passed: Decided = ("keep", "passed", {})
    drops: dict[str, tuple[str, Decided]] = {
        "filter": ("docs/table.md", ("drop", "gopher_quality.min_words", {"value": 6.0, "threshold": 50.0})),
        "dedup": ("vendored/api.py", ("drop", "near", {"survivor": doc_id("lib/api.py"), "survivor_uri": "lib/api.py", "similarity": 0.91, "threshold": 0.8})),
        "decontaminate": (
            "docs/leak.md",
            ("drop", "contaminated", {"benchmark": "foxes", "example": "q1", "span": "it sleeps for a while", "also": [["foxes", "answer"]]}),
        ),
    }  # fmt: skip
    digests = {
        f"{r.stage}.{port}": output["digest"]
        for r in (ingest, benchmarks)
        for port, output in r.outputs.items()
    }
    before, left = "ingest", trained
    for name, (dropped, decision) in drops.items():
        inputs = {"documents": digests[f"{before}.documents"]}
        if name == "decontaminate":
            inputs["benchmarks"] = digests["benchmarks.benchmarks"]
        decisions = {uri: decision if uri == dropped else passed for uri in left}
        left = [uri for uri in left if uri != dropped]
        outputs = {
            "documents": ("documents", write_documents(left)),
            "decisions": ("decisions", write_decisions(decisions)),
        }
        record = builder.stage(name, name, outputs, inputs, config={"max_drop_fraction": 0.5})
        digests |= {f"{name}.{port}": output["digest"] for port, output in record.outputs.items()}
        before = name
    tokens = builder.stage(
        "tokenize",
        "tokenize",
        {
            "tokens": (
                "tokens",
                write_tokens([("lib/setup.py", 0, 100), ("lib/api.py", 100, 300), ("lib/end.py", 400, 112)]),
            )
        },
        {"documents": digests["decontaminate.documents"]},
    )
    digests["tokenize.tokens"] = tokens.outputs["tokens"]["digest"]
    phases = [
        {"until_tokens": 512, "sequence_length_tokens": 16, "weights": {"code": 1.0}},
        {"until_tokens": 1024, "sequence_length_tokens": 32, "weights": {"code": 1.0}},
    ]
    model = builder.stage(
        "pretrain",
        "pretrain",
        {"model": ("model", lambda folder: _write(folder / "weights.safetensors"))},
        {"tokens": digests["tokenize.tokens"]},
        config={"phases": phases, "batch_size": 4},
    )
    digests["pretrain.model"] = model.outputs["model"]["digest"]
    builder.run()
    return SimpleNamespace(store=builder.store, builder=builder, digests=digests, id=doc_id, texts=TEXTS)


def _write(path: Path) -> None:
    path.write_bytes(b"weights")
