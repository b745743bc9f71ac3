"""``teacher_logits``: a teacher's distributions of the next token, stored for every position that a training reads.

The teacher runs once, and any number of students learn from it. It reads the batches of the training in the training's
order, which is a function of the step, and stores of each position the k most probable tokens and the probability of all
others together (see ``model.losses.distillation`` for the reason, and ``data.training.stored_logits`` for the files).
``distill`` refuses logits that were made for another order. A killed pass goes on after its last whole shard.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from millrace.components.contract import ComponentError, Context, Inputs
from millrace.components.reports.files import write_json
from millrace.components.training import mesh as device_mesh
from millrace.components.training.mixture.reading import open_reading, read_batch
from millrace.components.training.mixture.schedule import Schedule
from millrace.data.training import stored_logits
from millrace.model.devices import sharding
from millrace.model.losses.distillation import TopLogProbs, teacher_states, top_log_probs
from millrace.model.network.decoder import Decoder

from . import teacher
from .config import TeacherLogitsConfig


def run(context: Context, config: TeacherLogitsConfig, inputs: Inputs) -> None:
    """Runs the teacher over every batch and writes the shards and their record."""
    config, reading = open_reading("teacher_logits", context.seed, config, inputs)
    mixture, vocab_size = reading.mixture, reading.tokenizer.vocab_size
    shape, model = teacher.load("teacher_logits", inputs, reading, config, config.top_k)
    mesh = device_mesh.build(config.mesh, config.batch_sizes())
    tokens = Schedule(mixture)
    total_tokens = tokens.tokens(mixture.total_steps)
    each = stored_logits.bytes_per_token(config.top_k, vocab_size)
    folder = context.work / "shards"
    folder.mkdir(exist_ok=True)
    shards = stored_logits.shard_steps(mixture.ends, mixture.step_tokens, config.shard_tokens)
    missing = [
        (number, steps) for number, steps in enumerate(shards) if not stored_logits.has_shard(folder, number)
    ]
    context.log.info(
        "%d bytes a token, %.3g GB of %d tokens, in %d shards of which %d are there",
        each, each * total_tokens / 1e9, total_tokens, len(shards), len(shards) - len(missing),
    )  # fmt: skip
    lacking = sum(tokens.tokens(end) - tokens.tokens(first) for _, (first, end) in missing)
    if (free := shutil.disk_usage(folder).free) < each * lacking:
        raise ComponentError(
            f"teacher_logits: got {free / 1e9:.3g} GB of disk, expected {each * lacking / 1e9:.3g} GB: {each} bytes for "
            f"each of {lacking} tokens; lower top_k ({config.top_k}), or distil from the teacher online"
        )
    started, done = time.monotonic(), total_tokens - lacking
    of_batch = _distributions(model, mesh, config)

    def counted(parts: Iterator[tuple[np.ndarray, np.ndarray]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        nonlocal done
        for part in parts:
            yield part
            done += part[1][..., 0].size
            context.progress(done, total_tokens, "tokens")

    for number, (first, end) in missing:
        batches = (read_batch(config, reading.streams, mixture, step) for step in range(first, end))
        parts = counted(_one_ahead(of_batch, batches))
        stored_logits.write_shard(folder, number, end - first, parts, vocab_size)
    seconds = time.monotonic() - started
    if lacking:
        context.log.info("read %d tokens in %.1f s, %.0f a second", lacking, seconds, lacking / seconds)
    output = context.output("logits")
    for number in range(len(shards)):
        for name in stored_logits.shard_names(number):
            _share(folder / name, output / name)
    facts = {
        "made_for": teacher.made_for(
            config, reading, context.seed, inputs.one("tokens").digest, config.temperature
        ),
        "top_k": config.top_k,
        "teacher": inputs.one("teacher").digest,
        "teacher_parameters": shape.parameter_count(),
        "tokens": total_tokens,
        "bytes_per_token": each,
    }
    stored_logits.write_index(output, facts, shards)
    summary = summarise(output, len(shards))
    write_json(context.output("report") / "report.json", facts | summary)
    context.metric("tokens_out", total_tokens)
    context.metric("bytes_per_token", each)
    for name, value in summary.items():
        context.metric(name, value)


def _distributions(
    model: Decoder, mesh: Mesh | None, config: TeacherLogitsConfig
) -> Callable[[Mapping[str, np.ndarray]], TopLogProbs]:
    """From a batch to the teacher's distributions, still on the device, log-probabilities float16."""
    graph, state = nnx.split(model)
    weights = nnx.to_pure_dict(state)
    if mesh:
        weights = jax.tree.map(np.asarray, weights)
        weights = jax.device_put(weights, sharding.weight_shardings(mesh, weights))

    @jax.jit
    def compute(weights: Any, batch: Mapping[str, jax.Array]) -> TopLogProbs:
        model = nnx.merge(graph, weights)
        found = top_log_probs(model, teacher_states(model, batch), config.top_k, config.temperature)
        return TopLogProbs(found.log_probs.astype("float16"), found.ids)

    def of_batch(batch: Mapping[str, np.ndarray]) -> TopLogProbs:
        with sharding.on(mesh):
            return compute(weights, sharding.place_batch(mesh, batch) if mesh else dict(batch))

    return of_batch


def _one_ahead(
    of_batch: Callable[[Mapping[str, np.ndarray]], TopLogProbs], batches: Iterable[Mapping[str, np.ndarray]]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Log-probabilities and ids of every batch; the next one is under way while one is fetched."""
    ahead: TopLogProbs | None = None
    for found in chain(map(of_batch, batches), [None]):
        if ahead is not None:
            yield np.asarray(ahead.log_probs), np.asarray(ahead.ids)
        ahead = found


def _share(path: Path, target: Path) -> None:
    """Puts a finished shard into the output and leaves it where a retry looks for it, without a second copy on disk."""
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)


def summarise(folder: Path, shards: int) -> dict[str, float]:
    """Means of the stored values over all positions.

    Returns:
        ``top_1_probability`` of the most probable token, ``top_k_probability`` of all k stored ones together: how much
        of the teacher's distribution a student sees token by token.
    """
    first = stored = positions = 0.0
    for number in range(shards):
        log_probs = np.load(folder / stored_logits.shard_names(number)[0], mmap_mode="r", allow_pickle=False)
        first += float(np.exp(log_probs[..., 0].astype(np.float32)).sum(dtype=np.float64))
        stored += float((1 - np.exp(log_probs[..., -1].astype(np.float32))).sum(dtype=np.float64))
        positions += log_probs[..., 0].size
    return {
        "top_1_probability": round(first / positions, 6),
        "top_k_probability": round(stored / positions, 6),
    }
