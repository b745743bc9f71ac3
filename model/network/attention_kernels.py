"""Softmax attention by the fastest correct program of each platform: XLA on CPU, cuDNN on NVIDIA, splash on TPU.

All take the same arguments and give the same values up to rounding; the tests hold each that runs on a CPU (splash in
Pallas's interpreter) against float64. The choice depends only on static facts, so a program is compiled for one kernel.
Plain XLA, which holds the scores [B, N, T, S] in memory, serves the masks that a kernel has no rule for.

References:
    Dao et al. 2022, FlashAttention, arXiv 2205.14135, algorithm 1, the origin of both kernels.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import jax
import jax.numpy as jnp

Kernel = Literal["xla", "cudnn", "splash"]

MASKED_SCORE = -1e30
SPLASH_BLOCK_TOKENS = 128
# Heads of more than 128 need Hopper or later.
CUDNN_WIDEST_HEAD, CUDNN_WIDEST_HEAD_BEFORE_HOPPER = 256, 128
# Splash attention's names for its output and normalisers.
RESIDUALS = "flash_attention"


def is_flash_result(primitive: Any, params: Mapping[str, Any]) -> bool:
    """Whether an operation returns the residuals of a flash kernel's backward pass.

    Args:
        primitive: A ``jax.extend.core.Primitive``.
        params: Its parameters.
    """
    return bool(
        primitive.name.startswith("dot_product_attention_fwd")
        or (primitive.name == "name" and params["name"] == RESIDUALS)
    )


@dataclass(frozen=True)
class Sight:
    """The keys that each query may attend to.

    Attributes:
        visible: [B or 1, T, S] bool, all rules but the window's.
        window_tokens: A query also sees no key that is this many or more tokens before it; None is no such limit.
        first: [B or 1, T] int32, the key index that is each query's own.
        is_causal: Whether ``visible`` says no more than that queries see keys up to themselves, which kernels know
            without reading an array.
        looks_back: Whether it lets no query see keys past itself, so that kernels may pass over them.
    """

    visible: jax.Array
    first: jax.Array
    is_causal: bool
    looks_back: bool
    window_tokens: int | None = None

    def windowed(self, window_tokens: int | None) -> Sight:
        """The same within a window."""
        return replace(self, window_tokens=window_tokens)

    def array(self) -> jax.Array:
        """[B or 1, T, S] bool with the window's rule."""
        if self.window_tokens is None:
            return self.visible
        keys = jnp.arange(self.visible.shape[-1], dtype=jnp.int32)
        return self.visible & (self.first[:, :, None] - keys < self.window_tokens)


def kernel_for(
    platform: str,
    dtype: jnp.dtype,
    length_tokens: int,
    head_size: int,
    is_causal: bool,
    widest_head: int = CUDNN_WIDEST_HEAD,
) -> Kernel:
    """The fastest kernel that is right for a call.

    Args:
        platform: ``cpu``, ``gpu`` or ``tpu``.
        dtype: Type of queries, keys and values.
        length_tokens: T.
        head_size: H.
        is_causal: See ``Sight``.
        widest_head: Largest head size that cuDNN has on this GPU.
    """
    is_half = dtype in (jnp.bfloat16, jnp.float16)
    # One query is a decoding step: reading the cache is all there is to do.
    fits_cudnn = head_size % 8 == 0 and head_size <= widest_head
    if platform == "gpu" and is_half and length_tokens > 1 and fits_cudnn:
        return "cudnn"
    fits_blocks = length_tokens % SPLASH_BLOCK_TOKENS == 0 and head_size % SPLASH_BLOCK_TOKENS == 0
    if platform == "tpu" and is_causal and fits_blocks:
        return "splash"
    return "xla"


def attend(q: jax.Array, k: jax.Array, v: jax.Array, sight: Sight, kernel: Kernel | None = None) -> jax.Array:
    """Mixes values by the softmax of scaled scores; N query heads share K key-value heads.

    Args:
        q: [B, N, T, H].
        k: [B, K, S, H].
        v: [B, K, S, H].
        sight: The keys that each query may attend to; at least one each.
        kernel: Name of the program; by default the platform's fastest.

    Returns:
        [B, N, T, H] in the queries' dtype.
    """
    kernel = kernel or kernel_for(
        jax.default_backend(),
        q.dtype,
        q.shape[2],
        q.shape[3],
        sight.is_causal and q.shape[2] == k.shape[2],
        _widest_head(),
    )
    if kernel == "cudnn":
        return _cudnn(q, k, v, sight)
    if kernel == "splash":
        return _splash(q, k, v, sight.window_tokens)
    return _xla(q, k, v, sight.array())


def _widest_head() -> int:
    capability = getattr(jax.local_devices()[0], "compute_capability", "0.0")
    return CUDNN_WIDEST_HEAD if float(capability) >= 9.0 else CUDNN_WIDEST_HEAD_BEFORE_HOPPER


def _xla(q: jax.Array, k: jax.Array, v: jax.Array, visible: jax.Array) -> jax.Array:
    # The queries of one key head are stacked into one matrix of M = G T rows, so that scores and mixing are plain
    # batched products: on CPU three times as fast as contracting five-axis arrays.
    b, n, t, h = q.shape
    kv_heads, groups = k.shape[1], n // k.shape[1]
    stacked = (q * h**-0.5).reshape(b, kv_heads, groups * t, h)
    scores = jnp.einsum("BKMH,BKSH->BKMS", stacked, k, preferred_element_type=jnp.float32)
    scores = scores.reshape(b, kv_heads, groups, t, -1)
    scores = jnp.where(visible[:, None, None], scores, MASKED_SCORE)
    weights = jax.nn.softmax(scores, axis=-1).astype(q.dtype).reshape(b, kv_heads, groups * t, -1)
    return jnp.einsum("BKMS,BKSH->BKMH", weights, v).reshape(b, n, t, h)


def _cudnn(
    q: jax.Array, k: jax.Array, v: jax.Array, sight: Sight, implementation: Literal["cudnn", "xla"] = "cudnn"
) -> jax.Array:
    """cuDNN's flash attention by way of ``jax.nn``; the tests put its XLA twin behind the same arguments."""
    is_square = q.shape[2] == k.shape[2]
    causal, looks_back = sight.is_causal and is_square, sight.looks_back and is_square
    window = (sight.window_tokens - 1, 0) if causal and sight.window_tokens is not None else None
    mixed = jax.nn.dot_product_attention(
        q.swapaxes(1, 2),
        k.swapaxes(1, 2),
        v.swapaxes(1, 2),
        mask=None if causal else sight.array()[:, None],
        is_causal=looks_back,
        local_window_size=window,
        implementation=implementation,
    )
    return mixed.swapaxes(1, 2)


def _splash(
    q: jax.Array, k: jax.Array, v: jax.Array, window_tokens: int | None, interpret: bool = False
) -> jax.Array:
    """The Pallas kernel that skips blocks outside the mask, one call per row and key head."""
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

    b, n, t, h = q.shape
    groups = n // k.shape[1]
    mask: masks.Mask = masks.CausalMask((t, t))
    if window_tokens is not None:
        mask = masks.LocalMask((t, t), (window_tokens - 1, 0), 0)
    kernel = splash.make_splash_mqa_single_device(
        masks.MultiHeadMask([mask] * groups),
        block_sizes=_blocks(t),
        residual_checkpoint_name=RESIDUALS,
        interpret=interpret,
    )
    queries = (q * h**-0.5).reshape(b, k.shape[1], groups, t, h)
    mixed = cast("jax.Array", jax.vmap(jax.vmap(kernel))(queries, k, v))  # no residuals are asked for
    return mixed.reshape(b, n, t, h)


@functools.lru_cache
def _blocks(length_tokens: int) -> Any:
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash

    size = next(size for size in (512, 256, SPLASH_BLOCK_TOKENS) if length_tokens % size == 0)
    return splash.BlockSizes(
        block_q=size,
        block_kv=size,
        block_kv_compute=size,
        block_q_dkv=size,
        block_kv_dkv=size,
        block_kv_dkv_compute=size,
        block_q_dq=size,
        block_kv_dq=size,
    )
