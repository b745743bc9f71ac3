"""Weights on disk: ``config.json`` and ``weights.safetensors``, the same bytes for the same weights.

A published model is safetensors: two saves of one state give the same bytes, as content addresses need. So are training
states (see ``states.state_file``).

Tensors are float32 and named by their path in the module, ``layers.attention.query``; those under ``layers`` have the
layer as first axis.
"""

from __future__ import annotations

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors.numpy import load_file, save_file

from millrace.model.network.config import ModelConfig
from millrace.model.network.decoder import Decoder

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "weights.safetensors"


def tensors(module: nnx.Module) -> dict[str, np.ndarray]:
    """The parameters of a module by dotted name, on the host."""
    flat = nnx.to_flat_state(nnx.state(module, nnx.Param))
    return {".".join(map(str, path)): np.asarray(variable[...]) for path, variable in flat}


def fill(module: nnx.Module, values: dict[str, np.ndarray]) -> None:
    """Sets every parameter of a module, which may be abstract, from named tensors.

    Raises:
        ValueError: A tensor is missing, left over, or has another shape.
    """
    state = nnx.state(module, nnx.Param)
    flat = {".".join(map(str, path)): variable for path, variable in nnx.to_flat_state(state)}
    if missing := sorted(set(flat) - set(values)):
        raise ValueError(f"weights lack {missing}: they belong to another model shape")
    if extra := sorted(set(values) - set(flat)):
        raise ValueError(f"weights hold unknown tensors {extra}: they belong to another model shape")
    for name, variable in flat.items():
        if variable.shape != values[name].shape:
            raise ValueError(
                f"weights: {name} has shape {values[name].shape}, the config expects {variable.shape}"
            )
        variable.set_value(jnp.asarray(values[name]))
    nnx.update(module, state)


def save(folder: Path, config: ModelConfig, module: nnx.Module) -> None:
    """Writes a model into an existing folder."""
    (folder / CONFIG_FILE).write_text(config.to_json())
    # No metadata: safetensors writes it in hash order, which differs from process to process.
    save_file(tensors(module), folder / WEIGHTS_FILE)


def load_config(folder: Path) -> ModelConfig:
    """The shape of the model in a folder."""
    return ModelConfig.from_json((folder / CONFIG_FILE).read_text())


def load(folder: Path) -> tuple[ModelConfig, Decoder]:
    """Reads a decoder.

    Raises:
        ValueError: Config and weights do not fit each other.
    """
    config = load_config(folder)
    decoder: Decoder = nnx.eval_shape(lambda: Decoder(config, rngs=nnx.Rngs(0)))
    fill(decoder, load_file(folder / WEIGHTS_FILE))
    return config, decoder
