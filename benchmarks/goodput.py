"""Measures the cost of failures: goodput with a kill -9 of a random host every N steps, by where the state is kept.

Two hosts (processes of this machine joined by JAX's coordinator) train a small decoder as a stage does, below its
supervisor. In every N steps of progress one of them, at a step drawn from a fixed seed, is killed; all start again from
the newest state. Compared are checkpoints on disk alone and copies in memory beside them. Goodput is what the stage itself
reports: seconds of steps that count over seconds since the first start, so start-up, compiling, evaluating, saving and
steps done again are all lost. Steps are short here and start-up is long: read the columns against each other.

    .venv/bin/python benchmarks/goodput.py
    .venv/bin/python benchmarks/goodput.py --steps 200 --every 20 --every 100 --json
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import os
import platform
import random
import re
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from millrace.components import registry
from millrace.data.tokenizer import tokenizer as tokenizers
from millrace.data.tokenizer import training as tokenizer_training
from millrace.data.training import streams as token_stream
from millrace.pipelines.stages.environment import CACHE_VARIABLE, stage_environment
from millrace.pipelines.stages.execute import execute
from millrace.pipelines.stages.request import Request
from millrace.pipelines.store.store import Store

VOCAB_SIZE = 512
ROWS, LENGTH_TOKENS = 16, 128
MODEL = {"layers": 4, "model_size": 128, "heads": 4, "kv_heads": 2, "head_size": 32, "feed_forward_size": 384}


def main() -> None:
    """Measures and prints a table, or JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--hosts", type=int, default=2)
    parser.add_argument(
        "--every", type=int, action="append", help="steps between failures; 20 and 60 by default"
    )
    parser.add_argument("--checkpoint-every-steps", type=int, default=25)
    parser.add_argument("--replica-every-steps", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    ways = {"disk": {}, "memory and disk": {"replica_every_steps": options.replica_every_steps}}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        inputs = write_inputs(Path(folder))
        for every in [0, *(options.every or [20, 60])]:
            for way, settings in ways.items():
                with tempfile.TemporaryDirectory(dir=folder) as store:
                    found = measure(Path(store), inputs, options, every, settings)
                rows.append({"failure_every_steps": every or None, "state": way} | found)
                print(rows[-1], file=sys.stderr, flush=True)
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; "
        f"{options.steps} steps on {options.hosts} hosts, checkpoints every {options.checkpoint_every_steps} steps, "
        f"copies in memory every {options.replica_every_steps}\n"
    )
    names = list(rows[0])
    print("| " + " | ".join(name.replace("_", " ") for name in names) + " |\n|" + "---|" * len(names))
    for row in rows:
        print("| " + " | ".join("none" if row[name] is None else str(row[name]) for name in names) + " |")


def measure(
    folder: Path,
    inputs: Mapping[str, Path],
    options: argparse.Namespace,
    every: int,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """One training with its failures: goodput, steps done again, seconds from a kill to the next finished step."""
    chance = random.Random(0)
    kills = (
        [chance.randrange(start + 1, start + every) for start in range(0, options.steps, every)]
        if every
        else []
    )
    kills = [step for step in kills if step < options.steps]
    done: list[float] = []
    recovery: list[float] = []
    shares: list[float] = []
    killed_at: float | None = None

    def emit(event: Mapping[str, Any]) -> None:
        nonlocal killed_at
        if event["event"] != "metric" or event["step"] is None:
            return
        if event["name"] == "goodput":
            shares.append(event["value"])
        if event["name"] == "loss":
            if killed_at is not None and done and event["step"] <= done[-1]:
                recovery.append(time.monotonic() - killed_at)
                killed_at = None
            done.append(event["step"])
            if killed_at is None and kills and event["step"] >= kills[0]:
                kills.pop(0)
                os.kill(chance.choice(host_processes()), signal.SIGKILL)
                killed_at = time.monotonic()

    config = {
        "model": MODEL,
        "phases": [
            {
                "until_tokens": options.steps * ROWS * LENGTH_TOKENS,
                "sequence_length_tokens": LENGTH_TOKENS,
                "weights": {"text": 1},
            }
        ],
        "batch_size": ROWS,
        "max_epochs": 1000,
        "log_every_steps": 1,
        "checkpoint_every_steps": options.checkpoint_every_steps,
    }
    failures = len(kills)
    log = io.StringIO()
    start = time.monotonic()
    with contextlib.redirect_stderr(log):
        train(folder, inputs, {**config, **settings}, options.hosts, len(kills), emit)
    copying = re.findall(r"([\d.]+) s copying to memory", log.getvalue())
    return {
        "failures": failures,
        "seconds": round(time.monotonic() - start, 1),
        "goodput": f"{shares[-1]:.1%}",
        "steps_done_again": len(done) - options.steps,
        "seconds_to_next_step": round(sum(recovery) / len(recovery), 1) if recovery else None,
        "seconds_copying_since_last_failure": float(copying[0]) if copying else None,
    }


def host_processes() -> list[int]:
    """This process's hosts."""
    found = []
    for task in Path("/proc/self/task").glob("*/children"):
        for child in task.read_text().split():
            if b"host_process" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(int(child))
    return found


def train(
    folder: Path, inputs: Mapping[str, Path], config: Mapping[str, Any], hosts: int, retries: int, emit: Any
) -> None:
    """Runs ``pretrain`` as a stage of a new store, with nothing compiled beforehand."""
    os.environ.update(stage_environment({**os.environ, CACHE_VARIABLE: str(folder / "programs")}))
    store = Store(str(folder))
    given = {}
    for port, path in inputs.items():
        copy = store.scratch / "work" / port
        copy.mkdir(parents=True)
        for file in [file for file in path.rglob("*") if file.is_file()]:
            (copy / file.relative_to(path)).parent.mkdir(exist_ok=True)
            (copy / file.relative_to(path)).write_bytes(file.read_bytes())
        kind = registry.get("pretrain").inputs[port].kind
        given[port] = {"stage": port, "digest": store.publish(copy, kind, {})}
    request = Request(
        store=store.uri,
        run="run",
        pipeline="goodput",
        stage="pretrain",
        component="pretrain",
        key="0" * 64,
        config=config,
        semantic={},
        seed=0,
        inputs=given,
        code="",
        modules={},
        hosts=hosts,
        retries=retries,
    )
    execute(request, emit, logging.getLogger("pretrain"))


def write_inputs(folder: Path) -> dict[str, Path]:
    """A tokenizer and a stream of random tokens."""
    special = (*tokenizers.CHAT_TOKENS, *tokenizers.reserved_tokens(2))
    trained = tokenizer_training.train(
        [" ".join(f"{number:x}" for number in range(3000))],
        vocab_size=VOCAB_SIZE,
        algorithm="bpe",
        special=special,
        character_coverage=1.0,
    )
    (folder / "tokenizer").mkdir()
    tokenizer = tokenizers.write(folder / "tokenizer", trained, special, {})
    ids = np.random.default_rng(0).integers(0, tokenizer.vocab_size, 50_000)
    spans = pa.table({"doc_id": ["0" * 32], "start": [0], "length": [len(ids)]})
    entry = token_stream.write_source(folder / "tokens", "text", [ids], spans, tokenizer.vocab_size)
    token_stream.write_index(folder / "tokens", tokenizer.vocab_size, {"text": entry})
    return {"tokens": folder / "tokens", "tokenizer": folder / "tokenizer"}


if __name__ == "__main__":
    main()
