"""Named model shapes and the cost of each: parameters, work per token, memory of a device.

All are decoders with multi-query attention and GeGLU, as the Gemini reports describe; ``nano-1`` and ``nano-2`` have
the reported sizes, the shapes behind them are ours (heads of 128: flash attention on a GPU is slower with wider ones).
The ``-moe`` variants replace every feed-forward layer by eight experts of half its width, two for each token, so a
token costs the same as in the dense model.

References:
    Gemini Team 2023, arXiv 2312.11805, table 1 (Nano-1 1.8B, Nano-2 3.25B parameters).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from .config import ModelConfig

EXPERTS = 8


def _dense(
    vocab_size: int, layers: int, model_size: int, heads: int, head_size: int, feed_forward: int, length: int
) -> ModelConfig:
    return ModelConfig(
        vocab_size=vocab_size,
        layers=layers,
        model_size=model_size,
        heads=heads,
        kv_heads=1,
        head_size=head_size,
        feed_forward_size=feed_forward,
        max_sequence_tokens=length,
    )


_DENSE = {
    "tiny": _dense(8_192, 4, 192, 3, 64, 512, 512),
    "small": _dense(32_768, 8, 384, 6, 64, 1_536, 1_024),
    "base": _dense(32_768, 12, 768, 12, 64, 3_072, 2_048),
    "nano-1": _dense(262_144, 24, 2_048, 16, 128, 7_168, 4_096),
    "nano-2": _dense(262_144, 28, 2_560, 20, 128, 10_112, 4_096),
}

PRESETS: Mapping[str, ModelConfig] = _DENSE | {
    f"{name}-moe": replace(config, experts=EXPERTS, feed_forward_size=config.feed_forward_size // 2)
    for name, config in _DENSE.items()
}


@dataclass(frozen=True)
class Memory:
    """The memory of a device while training, in bytes.

    Attributes:
        state: Weights, two moments and the step, in float32.
        gradients: One gradient, in float32.
        activations: Layer inputs kept for the backward pass where all else is computed again (``remat: full``), and all
            results of the one layer being differentiated, in the compute dtype; its scores only without a flash kernel.
    """

    state: int
    gradients: int
    activations: int

    @property
    def total(self) -> int:
        """All of it together."""
        return self.state + self.gradients + self.activations


def training_memory(
    config: ModelConfig, rows: int, length_tokens: int, *, shards: int = 1, flash: bool = True
) -> Memory:
    """Memory of one device.

    Args:
        config: The model.
        rows: Rows of the batch on this device.
        length_tokens: Their length.
        shards: Devices that weights and moments are spread over (``fsdp`` times ``tensor``).
        flash: Whether attention never holds its scores.

    References:
        Rajbhandari et al. 2020, ZeRO, arXiv 1910.02054, section 3.1 (bytes per parameter under Adam); Chen et al.
        2016, arXiv 1604.06174 (keeping layer inputs only).
    """
    parameters = math.ceil(config.parameter_count() / shards)
    width = 2 if config.compute_dtype == "bfloat16" else 4
    tokens = rows * length_tokens
    heads = config.head_size * (2 * config.heads + 2 * config.kv_heads)
    networks = config.experts_per_token if config.experts else 1
    one_layer = 4 * config.model_size + heads + 3 * config.feed_forward_size * networks
    scores = 0 if flash else 4 * rows * config.heads * length_tokens**2
    kept = config.layers * config.model_size
    return Memory(12 * parameters + 4, 4 * parameters, tokens * width * (kept + one_layer) + scores)
