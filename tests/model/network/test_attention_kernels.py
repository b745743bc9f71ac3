"""Every attention kernel equals float64, forwards and backwards, and each platform gets one that fits."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from millrace.model.network import attention_kernels
from millrace.model.network.attention_kernels import Sight, attend, kernel_for
from millrace.model.network.config import ModelConfig
from millrace.model.network.decoder import Decoder, TrainingMode

B, N, K, H = 2, 4, 2, 128


def sight_of(length: int, window: int | None, mask: np.ndarray | None = None) -> Sight:
    steps = jnp.arange(length, dtype=jnp.int32)[None]
    visible = steps[:, :, None] >= steps[:, None, :]
    if mask is not None:
        visible = visible & mask
    return Sight(visible, steps, is_causal=mask is None, looks_back=True, window_tokens=window)


def reference(q: np.ndarray, k: np.ndarray, v: np.ndarray, visible: np.ndarray) -> np.ndarray:
    q, k, v = (x.astype(np.float64) for x in (q, k, v))
    out = np.empty_like(q)
    for b, n in np.ndindex(q.shape[:2]):
        scores = q[b, n] @ k[b, n // (N // K)].T / np.sqrt(q.shape[-1])
        scores = np.where(visible[b % len(visible)], scores, -np.inf)
        share = np.exp(scores - scores.max(axis=-1, keepdims=True))
        out[b, n] = share / share.sum(axis=-1, keepdims=True) @ v[b, n // (N // K)]
    return out


def heads(length: int, head_size: int = H, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed).standard_normal
    shapes = [(B, n, length, head_size) for n in (N, K, K)]
    q, k, v = (draw(shape).astype(np.float32) for shape in shapes)
    return q, k, v


def splash(q: jax.Array, k: jax.Array, v: jax.Array, sight: Sight) -> jax.Array:
    return attention_kernels._splash(q, k, v, sight.window_tokens, interpret=True)


KERNELS: dict[str, Callable[..., jax.Array]] = {
    "xla": functools.partial(attend, kernel="xla"),
    "cudnn": functools.partial(attention_kernels._cudnn, implementation="xla"),
    "splash": splash,
}


@pytest.mark.parametrize("window", [None, 1, 40])
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_kernel_equals_float64(kernel: str, window: int | None) -> None:
    """Grouped queries over 256 tokens, causal and in windows; cuDNN's arguments are run by their XLA twin here."""
    q, k, v = heads(256)
    sight = sight_of(256, window)
    mixed = jax.jit(lambda *x: KERNELS[kernel](*x, sight))(q, k, v)
    np.testing.assert_allclose(mixed, reference(q, k, v, np.asarray(sight.array())), atol=3e-6)


@pytest.mark.parametrize("kernel", ["cudnn", "splash"])
def test_kernels_have_the_same_slopes(kernel: str) -> None:
    """The backward pass of each equals that of plain XLA."""
    q, k, v = heads(128, seed=1)
    sight = sight_of(128, 17)
    weights = np.random.default_rng(2).standard_normal(q.shape).astype(np.float32)

    def slopes(name: str) -> tuple[jax.Array, ...]:
        loss = lambda *x: jnp.sum(KERNELS[name](*x, sight) * weights)  # noqa: E731 (differentiated in place)
        return jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(q, k, v)

    for got, wanted in zip(slopes(kernel), slopes("xla"), strict=True):
        np.testing.assert_allclose(got, wanted, atol=2e-5)


@pytest.mark.parametrize("kernel", ["xla", "cudnn"])
def test_a_mask_and_a_window_hold_together(kernel: str) -> None:
    """A token sees its own segment only, and of that its window."""
    q, k, v = heads(24, 16)
    segments = np.repeat([0, 1, 2], 8)
    sight = sight_of(24, 5, segments[:, None] == segments[None, :])
    mixed = KERNELS[kernel](q, k, v, sight)
    np.testing.assert_allclose(mixed, reference(q, k, v, np.asarray(sight.array())), atol=2e-6)


def test_each_platform_gets_a_kernel_that_has_its_case() -> None:
    """CPU is always XLA; cuDNN needs half precision, splash causal masks and blocks of 128."""
    half, single = jnp.dtype(jnp.bfloat16), jnp.dtype(jnp.float32)
    assert kernel_for("cpu", half, 4096, 128, True) == "xla"
    assert kernel_for("gpu", half, 4096, 256, True) == "cudnn"
    assert kernel_for("gpu", half, 4096, 128, False) == "cudnn"
    assert kernel_for("gpu", single, 4096, 128, True) == "xla"
    assert kernel_for("gpu", half, 1, 128, False) == "xla"
    assert kernel_for("gpu", half, 4096, 256, True, widest_head=128) == "xla"
    assert kernel_for("tpu", half, 4096, 128, True) == "splash"
    assert kernel_for("tpu", half, 4096, 128, False) == "xla"
    assert kernel_for("tpu", half, 4000, 128, True) == "xla"


def _count(program: Any, name: str) -> int:
    inner = (
        getattr(value, "jaxpr", value) for equation in program.eqns for value in equation.params.values()
    )
    own = sum(equation.primitive.name.startswith(name) for equation in program.eqns)
    return own + sum(_count(part, name) for part in inner if hasattr(part, "eqns"))


@pytest.mark.parametrize(("remat", "times"), [("dots", 1), ("full", 2)])
def test_a_layer_that_keeps_products_attends_once(
    remat: str, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under ``dots`` the backward pass has cuDNN's residuals at hand; without them the forward kernel runs again."""
    from jax._src.cudnn import fused_attention_stablehlo as cudnn

    monkeypatch.setattr(cudnn, "check_cudnn_version", lambda: 91_000)
    monkeypatch.setattr(cudnn, "check_compute_capability", lambda capability: True)
    monkeypatch.setattr(attention_kernels, "kernel_for", lambda *args: "cudnn")
    config = ModelConfig(32, 8, 64, 4, 1, 64, 96, 32, compute_dtype="bfloat16")
    decoder = nnx.eval_shape(lambda: Decoder(config, rngs=nnx.Rngs(0)))
    graph, variables = nnx.split(decoder)

    def loss(params: Any, tokens: jax.Array) -> jax.Array:
        return jnp.sum(nnx.merge(graph, params).train_hidden(tokens, TrainingMode(remat=remat))[0])

    tokens = jax.ShapeDtypeStruct((2, 32), jnp.int32)
    program = jax.make_jaxpr(jax.grad(loss))(nnx.to_pure_dict(variables), tokens)
    assert _count(program.jaxpr, "dot_product_attention_fwd") == times
    assert _count(program.jaxpr, "dot_product_attention_bwd") == 1
