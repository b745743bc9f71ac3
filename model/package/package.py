"""The model package: one folder with exactly the files needed to use a model.

``package.json`` names every other file with its size and SHA-256, so a package can be checked without the store that
it came from. The weights are there twice: ``model.safetensors`` in float32 and ``model-int4.safetensors`` quantised
group by group (``quantise``). Quantised tensors are transposed so that the input axes of the product come last and
groups run along them; ``INPUT_AXES`` names these axes. Norm scales, a few thousand numbers that multiply everything
else, stay float32.

The quantised weights are expanded to float32 when a package is loaded: they save disk and download, and on a CPU,
where no 4-bit matrix product exists, expanding them at every step would cost more than it saves.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from flax import nnx
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from millrace.model.network.config import ModelConfig
from millrace.model.network.decoder import Decoder

from . import weights as model_weights
from .quantise import Quantised, dequantise, quantise

FORMAT_VERSION = 1
MANIFEST_FILE = "package.json"
CONFIG_FILE = "config.json"
FLOAT32_FILE = "model.safetensors"
INT4_FILE = "model-int4.safetensors"
CARD_FILE = "MODEL_CARD.md"
EVALUATION_FILE = "evaluation.json"

Weights = Literal["float32", "int4"]

# The axes of each stored tensor that its product sums over; those under "layers" have the layer as axis 0.
INPUT_AXES: Mapping[str, tuple[int, ...]] = {
    "embedding": (1,),  # [V, D]: a lookup on the way in, a product over D on the way out
    "unembedding": (1,),  # [V, D], where the embedding is not tied
    "layers.attention.query": (1,),  # [L, D, N, H]
    "layers.attention.key": (1,),
    "layers.attention.value": (1,),
    "layers.attention.out": (1, 2),  # [L, N, H, D]
    "layers.feed_forward.gate": (-2,),  # [L, D, F], with experts [L, E, D, F]
    "layers.feed_forward.up": (-2,),
    "layers.feed_forward.out": (-2,),  # [L, F, D] or [L, E, F, D]
}
# Norms, and the routers of experts: few numbers, and a router's rounding would send tokens elsewhere.
KEPT = ("norm.scale", "feed_forward.router")
_METADATA_KEY = "quantisation"


class PackageError(ValueError):
    """A folder is not a package that this version can use; the message names the fault and the remedy."""


def _order(axes: int, inputs: tuple[int, ...]) -> list[int]:
    """All axes of a tensor, its input axes last."""
    last = [axis % axes for axis in inputs]
    return [axis for axis in range(axes) if axis not in last] + last


def _turned(tensor: np.ndarray, inputs: tuple[int, ...]) -> np.ndarray:
    """The tensor as a matrix with the input axes as columns."""
    columns = int(np.prod([tensor.shape[axis] for axis in inputs]))
    return tensor.transpose(_order(tensor.ndim, inputs)).reshape(-1, columns)


def quantise_tensors(
    tensors: Mapping[str, np.ndarray], *, group_size: int, embedding_bits: int
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Quantises every matrix of a decoder.

    Args:
        tensors: A decoder's float32 tensors by dotted name.
        group_size: Weights that share a scale.
        embedding_bits: 4 or 8, for the embedding and the output projection, tied or not.

    Returns:
        The tensors to store (``NAME.codes``, ``NAME.scales``, ``NAME.minimums``; norms and routers as they are), and for each
        quantised name its shape, group size and bits.
    """
    stored: dict[str, np.ndarray] = {}
    facts: dict[str, Any] = {}
    for name in sorted(tensors):
        tensor = tensors[name]
        if name not in INPUT_AXES:
            if not name.endswith(KEPT):
                raise ValueError(
                    f"got the tensor {name}, expected one of {sorted(INPUT_AXES)}, a norm or a router"
                )
            stored[name] = tensor
            continue
        matrix = _turned(tensor, INPUT_AXES[name])
        bits = embedding_bits if name.endswith("embedding") else 4
        quantised = quantise(matrix, group_size=group_size, bits=bits)
        stored[f"{name}.codes"] = quantised.codes
        stored[f"{name}.scales"] = quantised.scales
        stored[f"{name}.minimums"] = quantised.minimums
        facts[name] = {"shape": list(tensor.shape), "group_size": group_size, "bits": bits}
    return stored, facts


def dequantise_tensors(
    stored: Mapping[str, np.ndarray], facts: Mapping[str, Mapping[str, Any]]
) -> dict[str, np.ndarray]:
    """The inverse of ``quantise_tensors``, up to the rounding: float32 tensors by dotted name."""
    parts = {f"{name}.{part}" for name in facts for part in ("codes", "scales", "minimums")}
    tensors = {name: tensor for name, tensor in stored.items() if name not in parts}
    for name, fact in facts.items():
        shape, axes = fact["shape"], INPUT_AXES[name]
        order = _order(len(shape), axes)
        matrix = dequantise(
            Quantised(
                codes=stored[f"{name}.codes"],
                scales=stored[f"{name}.scales"],
                minimums=stored[f"{name}.minimums"],
                columns=int(np.prod([shape[axis] for axis in axes])),
                group_size=fact["group_size"],
                bits=fact["bits"],
            )
        )
        turned = matrix.reshape([shape[axis] for axis in order])
        tensors[name] = np.ascontiguousarray(turned.transpose(np.argsort(order)))
    return tensors


def write_weights(
    folder: Path, config: ModelConfig, decoder: Decoder, *, group_size: int, embedding_bits: int
) -> None:
    """Writes ``config.json`` and both forms of the weights; equal weights give equal bytes."""
    (folder / CONFIG_FILE).write_text(config.to_json(), encoding="utf-8")
    tensors = model_weights.tensors(decoder)
    save_file(tensors, folder / FLOAT32_FILE)
    stored, facts = quantise_tensors(tensors, group_size=group_size, embedding_bits=embedding_bits)
    # One key only: safetensors writes several in hash order, which differs from process to process.
    save_file(stored, folder / INT4_FILE, metadata={_METADATA_KEY: json.dumps(facts, sort_keys=True)})


def read_decoder(folder: Path, weights: Weights = "float32") -> Decoder:
    """The decoder of a folder that ``write_weights`` filled.

    Raises:
        PackageError: A file is missing or damaged, or config and weights do not fit each other.
    """
    path = folder / (FLOAT32_FILE if weights == "float32" else INT4_FILE)
    try:
        config = ModelConfig.from_json((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        tensors = load_file(path)
        if weights == "int4":
            with safe_open(path, framework="numpy") as opened:
                facts = json.loads(opened.metadata()[_METADATA_KEY])
            tensors = dequantise_tensors(tensors, facts)
        decoder: Decoder = nnx.eval_shape(lambda: Decoder(config, rngs=nnx.Rngs(0)))
        model_weights.fill(decoder, tensors)
    except Exception as error:  # safetensors raises its own error classes for truncated and foreign files
        raise PackageError(f"cannot read the {weights} weights of {folder.name}: {error}") from error
    return decoder


def file_digest(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def seal(folder: Path, facts: Mapping[str, Any]) -> None:
    """Writes ``package.json`` over the finished files of a package.

    Args:
        folder: The package, complete but for its manifest.
        facts: Facts for the manifest besides format version and files: name, parameters, weights, chat, loss.
    """
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": file_digest(path)}
        for path in sorted(folder.iterdir())
    }
    manifest = {**facts, "format_version": FORMAT_VERSION, "files": files}
    text = json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    (folder / MANIFEST_FILE).write_text(text, encoding="utf-8")


@dataclass(frozen=True)
class Package:
    """A package folder whose manifest has been read.

    Attributes:
        folder: Where it is.
        manifest: The content of ``package.json``.
        config: The model's shape.
    """

    folder: Path
    manifest: Mapping[str, Any]
    config: ModelConfig

    @property
    def name(self) -> str:
        """The model's name, as the server and the card call it."""
        return str(self.manifest["name"])

    @classmethod
    def open(cls, folder: Path, *, verify: bool = True) -> Package:
        """Reads a package's manifest and checks its files.

        Args:
            folder: The package.
            verify: Also compare every file's digest, which reads all of them.

        Raises:
            PackageError: No package, another format version, or a file that is missing or changed.
        """
        path = folder / MANIFEST_FILE
        if not path.is_file():
            raise PackageError(
                f"got {folder}, expected a model package (a folder with {MANIFEST_FILE}, "
                "as the export stage writes it)"
            )
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            version, files = manifest["format_version"], dict(manifest["files"])
        except (ValueError, KeyError, TypeError) as error:
            raise PackageError(f"{path} is damaged ({error}); export the package again") from error
        if version != FORMAT_VERSION:
            raise PackageError(f"{path} has format version {version}, this Millrace reads {FORMAT_VERSION}")
        for name, fact in files.items():
            if Path(name).name != name:
                raise PackageError(f"{path} names the file {name!r}, expected names without folders")
            file = folder / name
            if not file.is_file():
                raise PackageError(f"{folder} lacks {name}; copy the whole package again")
            if file.stat().st_size != fact["bytes"] or (verify and file_digest(file) != fact["sha256"]):
                raise PackageError(f"{file} is not the file that was exported; copy the package again")
        try:
            config = ModelConfig.from_json((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise PackageError(f"{folder / CONFIG_FILE}: {error}") from error
        return cls(folder=folder, manifest=manifest, config=config)

    def decoder(self, weights: Weights = "float32") -> Decoder:
        """The model with the chosen form of its weights, as a float32 decoder either way."""
        return read_decoder(self.folder, weights)
