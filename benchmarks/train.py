"""The training step against what the machine can do: plain products of the same shapes, compile time, counted work.

    python benchmarks/train.py [--part step] [--part compile] [--part counts] [--repeats 5]
    python benchmarks/train.py --part throughput --preset nano-1 --rows 8 --remat dots [--unroll]

step     A shrunk ``base`` (the ratios of its sizes kept) trains on random tokens. Its useful work is
         ``ModelConfig.flops_per_token``; its yardstick is every matrix product of one step, forwards and backwards, as a
         plain float32 ``jnp.dot`` of the same shapes, timed in the same process in turn with the step. The share is the
         step's rate over theirs. Then: how long the input takes to be read, and the step before and after a resumption.
compile  Lowering and compiling a whole training step of a preset ahead of time, without its memory.
counts   Work and memory of a compiled step by XLA's own analysis against the formulas.
throughput  ``fit`` itself on a preset in bfloat16 and rows of its full length: time of a step, tokens a second, model
         FLOPs utilisation (work of ``ModelConfig.flops_per_token`` over the device's peak), memory. For accelerators.

Machines differ and are shared: ratios and medians of one run say more than rates.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pyarrow as pa
from flax import nnx

from millrace.data.training.mixture import Mixture, Phase
from millrace.model.devices import peak_flops
from millrace.model.losses.next_token import NextTokenLoss
from millrace.model.network import decoder as network
from millrace.model.network.config import ModelConfig
from millrace.model.network.decoder import REMAT, Decoder, TrainingMode
from millrace.model.network.presets import PRESETS, training_memory
from millrace.model.states.checkpoints import Checkpoints
from millrace.model.training.hooks import Log
from millrace.model.training.loop import fit
from millrace.model.training.optimizer import make_optimizer
from millrace.model.training.step import Objective

ROWS, LENGTH = 8, 256
SHRUNK = replace(
    PRESETS["base"],
    vocab_size=4_096,
    layers=4,
    model_size=256,
    heads=4,
    feed_forward_size=1_024,
    max_sequence_tokens=LENGTH,
)


def step_of(config: ModelConfig, mode: TrainingMode = TrainingMode()) -> tuple[Callable[..., Any], Any, Any]:  # noqa: B008
    """A training step, its state's shapes, and the parts of a decoder that are no arrays."""
    decoder = nnx.eval_shape(lambda: Decoder(config, rngs=nnx.Rngs(0)))
    graph, variables = nnx.split(decoder)
    params = nnx.to_pure_dict(variables)
    optimizer = make_optimizer(1e-3)
    loss = NextTokenLoss(mode)

    def step(state: Any, batch: Any) -> Any:
        value, slopes = jax.value_and_grad(lambda params: loss(nnx.merge(graph, params), batch)[0])(
            state["params"]
        )
        updates, moments = optimizer.update(slopes, state["moments"], state["params"])
        return {"params": optax.apply_updates(state["params"], updates), "moments": moments}, value

    return step, {"params": params, "moments": jax.eval_shape(optimizer.init, params)}, optimizer


def products_of(program: Any, times: int = 1) -> Counter[Any]:
    """Every matrix product of a jaxpr: (shapes, contracted and batched axes) -> how often it runs."""
    found: Counter[Any] = Counter()
    for equation in program.eqns:
        if equation.primitive.name == "dot_general":
            shapes = tuple(operand.aval.shape for operand in equation.invars)
            found[shapes, equation.params["dimension_numbers"]] += times
        passes = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                found += products_of(inner, times * passes)
    return found


def seconds(run: Callable[[], Any], repeats: int) -> float:
    """Median wall time of a call, after one that is not counted."""
    jax.block_until_ready(run())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(run())
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def part_step(repeats: int) -> None:
    """The step's rate over that of its products."""
    config = SHRUNK
    step, shapes, optimizer = step_of(config)
    decoder = network.create(config, 0)
    params = nnx.to_pure_dict(nnx.state(decoder, nnx.Param))
    state = {"params": params, "moments": optimizer.init(params)}
    batch = {
        "tokens": np.random.default_rng(0).integers(0, config.vocab_size, (ROWS, LENGTH + 1)).astype(np.int32)
    }
    compiled = jax.jit(step, donate_argnums=0)
    work = config.flops_per_token(LENGTH) * ROWS * LENGTH

    def train() -> Any:
        nonlocal state
        state, value = compiled(state, batch)
        return value

    products = products_of(jax.make_jaxpr(step)(shapes, batch).jaxpr)
    operands = {
        key: tuple(
            jnp.asarray(np.random.default_rng(1).standard_normal(shape), jnp.float32) for shape in key[0]
        )
        for key in products
    }

    # Operands are arguments: XLA would fold the product of constants while it compiles.
    dots = {key: jax.jit(lambda a, b, numbers=key[1]: jax.lax.dot_general(a, b, numbers)) for key in products}

    def multiply() -> float:
        return sum(times * seconds(partial(dots[key], *operands[key]), 3) for key, times in products.items())

    shares, rates = [], []
    for _ in range(repeats):
        took, bare = seconds(train, 3), multiply()
        shares.append(bare / took)
        rates.append(ROWS * LENGTH / took)
    counted = sum(times * _flops(key) for key, times in products.items())
    print(f"model                {config.parameter_count() / 1e6:.1f} M parameters, {ROWS} x {LENGTH} tokens")
    print(f"tokens/s             {statistics.median(rates):,.0f}")
    print(f"useful GFLOP/s       {statistics.median(rates) * work / (ROWS * LENGTH) / 1e9:.1f}")
    share = statistics.median(shares) * work / counted
    print(
        f"share of jnp.dot     {share:.1%}  (runs: {', '.join(f'{value * work / counted:.1%}' for value in shares)})"
    )
    took = ROWS * LENGTH / statistics.median(rates)
    _input(took)
    _resumption(repeats)


def _flops(key: Any) -> int:
    (left, right), ((contracted, right_contracted), (_, right_batched)) = key
    del contracted
    free = [size for axis, size in enumerate(right) if axis not in (*right_contracted, *right_batched)]
    return int(2 * np.prod(left) * np.prod(free, dtype=np.int64))


def _input(step_seconds: float) -> None:
    """How long a batch takes to be found and read from memory-mapped streams."""
    from millrace.components.training.config import PretrainConfig
    from millrace.components.training.mixture.reading import read_batch
    from millrace.data.training.streams import SPANS, TokenStreams, write_index, write_source

    with tempfile.TemporaryDirectory() as name:
        folder, sources = Path(name), {}
        for source in ("web", "code", "books"):
            tokens = np.random.default_rng(2).integers(0, 4_096, 20_000_000).astype(np.uint16)
            starts = np.arange(0, tokens.size, 1_000)
            spans = [[f"{start:032x}" for start in starts], starts, np.full(starts.size, 1_000)]
            table = pa.table(spans, schema=SPANS)
            sources[source] = write_source(folder, source, [tokens], table, 4_096)
        write_index(folder, 4_096, sources)
        streams = TokenStreams.load(folder)
        phase = Phase(50_000_000, LENGTH, {"web": 0.5, "code": 0.3, "books": 0.2})
        mixture = Mixture(0, ROWS, [phase], streams.source_tokens)
        config = PretrainConfig.model_validate({"phases": [{"until_tokens": 1, "weights": phase.weights}]})
        times = []
        for step in range(0, 2_000, 10):
            start = time.perf_counter()
            read_batch(config, streams, mixture, step)
            times.append(time.perf_counter() - start)
    took = statistics.median(times)
    print(
        f"reading a batch      {took * 1e3:.2f} ms, {took / step_seconds:.2%} of a step of {step_seconds * 1e3:.0f} ms"
    )


def _resumption(repeats: int) -> None:
    """Steps of one training before it is interrupted and after it goes on from its checkpoint."""
    half = 4 * (repeats + 1)
    tokens = np.random.default_rng(3).integers(0, SHRUNK.vocab_size, (ROWS, LENGTH + 1)).astype(np.int32)

    def train(folder: Path, until: int) -> float:
        ends: list[float] = []
        with Checkpoints(folder, half) as checkpoints:
            fit(
                network.create(SHRUNK, 0),
                Objective(NextTokenLoss(), make_optimizer(1e-3)),
                lambda step: {"tokens": tokens},
                2 * half,
                stores=[checkpoints],
                hooks=[Log(4, lambda step, values: ends.append(time.perf_counter()))],
                until_steps=until,
            )
        # The first of a process is compiled, the last is followed by a checkpoint.
        return statistics.median(np.diff(ends)) / 4

    pairs = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as name:
            pairs.append((train(Path(name), half), train(Path(name), 2 * half)))
    ratios = sorted(after / before for before, after in pairs)
    before, after = (statistics.median(times) for times in zip(*pairs, strict=True))
    print(
        f"after a resumption   {after * 1e3:.0f} ms a step, {before * 1e3:.0f} ms before: {ratios[1]:.2f} times "
        f"({', '.join(f'{ratio:.2f}' for ratio in ratios)})"
    )


def part_compile(preset: str) -> None:
    """Ahead-of-time compilation of a preset's step."""
    config = replace(PRESETS[preset], compute_dtype="bfloat16")
    step, state, _ = step_of(config, TrainingMode(remat="full"))
    batch = {"tokens": jax.ShapeDtypeStruct((1, config.max_sequence_tokens + 1), jnp.int32)}
    start = time.perf_counter()
    lowered = jax.jit(step, donate_argnums=0).lower(state, batch)
    middle = time.perf_counter()
    lowered.compile()
    end = time.perf_counter()
    print(
        f"compile {preset:<12} {end - start:.1f} s  (tracing and lowering {middle - start:.1f}, XLA {end - middle:.1f})"
    )


def part_counts() -> None:
    """XLA's analysis of a compiled step against the formulas."""
    config = replace(SHRUNK, vocab_size=8_192, model_size=512, heads=8, feed_forward_size=2_048)
    step, state, _ = step_of(config)
    tokens = 2 * LENGTH
    batch = {"tokens": jax.ShapeDtypeStruct((2, LENGTH + 1), jnp.int32)}
    compiled = jax.jit(step, donate_argnums=0).lower(state, batch).compile()
    costs, memory = compiled.cost_analysis(), compiled.memory_analysis()
    assert costs is not None
    assert memory is not None
    found, wanted = costs["flops"], config.flops_per_token(LENGTH) * tokens
    print(f"compiled FLOPs       {found:.4g}, formula {wanted:.4g}: {found / wanted - 1:+.2%}")
    held = memory.argument_size_in_bytes
    wanted = training_memory(config, 2, LENGTH).state + 4 * 2 * (LENGTH + 1)
    print(f"state and batch      {held:,} bytes, formula {wanted:,}: {held / wanted - 1:+.2%}")


def part_throughput(preset: str, rows: int, mode: TrainingMode, steps: int, trace: str | None) -> None:
    """The training loop on a preset, after its compilation."""
    config = replace(PRESETS[preset], compute_dtype="bfloat16")
    length = config.max_sequence_tokens
    draw = np.random.default_rng(0)
    batches = [
        {"tokens": draw.integers(0, config.vocab_size, (rows, length + 1)).astype(np.int32)} for _ in range(4)
    ]
    ends: list[float] = []

    def on_log(step: int, values: Mapping[str, float]) -> None:
        ends.append(time.perf_counter())
        if trace and step == steps - 2:
            jax.profiler.start_trace(trace, create_perfetto_trace=True)
        print(f"  step {step}: loss {values['loss']:.4f}", flush=True)

    start = time.perf_counter()
    decoder = network.create(config, 0)
    loss = NextTokenLoss(mode)
    fit(
        decoder,
        Objective(loss, make_optimizer(1e-4)),
        lambda step: batches[step % 4],
        steps,
        hooks=[Log(2, on_log)],
    )
    if trace:
        jax.profiler.stop_trace()
    took = statistics.median(np.diff(ends[: len(ends) - bool(trace)])) / 2
    device = jax.devices()[0]
    rate = rows * length / took
    work = rate * config.flops_per_token(length)
    peak_rate = peak_flops.flops_per_second(device, "bfloat16")
    held = (device.memory_stats() or {}).get("peak_bytes_in_use", 0)
    print(f"{preset}, {rows} x {length} tokens, remat {mode.remat}, {device.device_kind}")
    print(f"first steps          {ends[0] - start:.1f} s from nothing, with compilation")
    print(f"step                 {took * 1e3:.1f} ms, {rate:,.0f} tokens/s")
    print(
        f"MFU                  {work / peak_rate:.1%}  ({work / 1e12:.4g} of {peak_rate / 1e12:.4g} TFLOP/s)"
    )
    print(f"memory at most       {held / 2**30:.1f} GiB", flush=True)


def main() -> None:
    """Parses arguments and runs the parts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", action="append", choices=["step", "compile", "counts", "throughput"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--preset", default="nano-2", choices=PRESETS)
    parser.add_argument("--rows", type=int, default=4, help="rows of a batch, for throughput")
    parser.add_argument("--remat", default="none", choices=REMAT)
    parser.add_argument("--unroll", action="store_true", help="compile every layer by itself, for throughput")
    parser.add_argument("--steps", type=int, default=16, help="steps of the training, for throughput")
    parser.add_argument("--trace", help="folder for a profile of the last two steps, for throughput")
    asked = parser.parse_args()
    device = jax.devices()[0]
    print(f"{platform.machine()}, {os.cpu_count()} cores, {device.device_kind}, jax {jax.__version__}")
    for part in asked.part or ["step", "compile", "counts"]:
        if part == "step":
            part_step(asked.repeats)
        elif part == "compile":
            part_compile(asked.preset)
        elif part == "throughput":
            mode = TrainingMode(remat=asked.remat, unroll=asked.unroll)
            part_throughput(asked.preset, asked.rows, mode, asked.steps, asked.trace)
        else:
            part_counts()


if __name__ == "__main__":
    main()
