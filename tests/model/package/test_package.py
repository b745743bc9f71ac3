"""The package folder: its weights come back, its bytes are stable, and damage is noticed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from flax import nnx

from millrace.model.network.config import ModelConfig
from millrace.model.network.decoder import Decoder
from millrace.model.package import weights as model_weights
from millrace.model.package.package import (
    FLOAT32_FILE,
    INPUT_AXES,
    INT4_FILE,
    MANIFEST_FILE,
    Package,
    PackageError,
    dequantise_tensors,
    quantise_tensors,
    read_decoder,
    seal,
    write_weights,
)

CONFIG = ModelConfig(
    vocab_size=50,
    layers=2,
    model_size=24,
    heads=4,
    kv_heads=2,
    head_size=6,
    feed_forward_size=40,
    max_sequence_tokens=16,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A package of a random decoder."""
    folder = tmp_path / "package"
    folder.mkdir()
    decoder = Decoder(CONFIG, rngs=nnx.Rngs(0))
    write_weights(folder, CONFIG, decoder, group_size=16, embedding_bits=4)
    seal(folder, {"name": "tiny"})
    return folder


def test_float32_weights_come_back_exactly(folder: Path) -> None:
    """The float32 file is lossless."""
    wanted = model_weights.tensors(Decoder(CONFIG, rngs=nnx.Rngs(0)))
    got = model_weights.tensors(Package.open(folder).decoder("float32"))
    assert got.keys() == wanted.keys()
    for name, tensor in wanted.items():
        np.testing.assert_array_equal(got[name], tensor)


def test_int4_weights_come_back_in_place_with_norms_exact(folder: Path) -> None:
    """Every axis is back where it was: errors are small everywhere, and none at all in the norms."""
    wanted = model_weights.tensors(read_decoder(folder, "float32"))
    got = model_weights.tensors(read_decoder(folder, "int4"))
    for name, tensor in wanted.items():
        error = np.abs(got[name] - tensor).max()
        assert error <= (0.2 * np.abs(tensor).max() if name in INPUT_AXES else 0.0), name
    assert (folder / INT4_FILE).stat().st_size < (folder / FLOAT32_FILE).stat().st_size / 3


@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("embedding", np.s_[7]),
        ("layers.attention.query", np.s_[0, :, 1, 2]),
        ("layers.attention.out", np.s_[0, :, :, 3]),
        ("layers.feed_forward.out", np.s_[1, :, 5]),
    ],
)
def test_an_outlying_output_coarsens_only_itself(name: str, output: tuple[int, ...]) -> None:
    """Groups run along the input axes, so the weights of one output share no scale with another's."""
    tensors = {name: model_weights.tensors(Decoder(CONFIG, rngs=nnx.Rngs(0)))[name].copy()}
    calm = dequantise_tensors(*quantise_tensors(tensors, group_size=8, embedding_bits=4))[name]
    tensors[name][output] *= 1000
    wild = dequantise_tensors(*quantise_tensors(tensors, group_size=8, embedding_bits=4))[name]
    wild[output] = calm[output]
    np.testing.assert_array_equal(wild, calm)


def test_equal_weights_give_equal_bytes(folder: Path, tmp_path: Path) -> None:
    """A package is addressed by its content."""
    again = tmp_path / "again"
    again.mkdir()
    write_weights(again, CONFIG, read_decoder(folder), group_size=16, embedding_bits=4)
    seal(again, {"name": "tiny"})
    for path in folder.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name


def test_eight_bit_embedding_is_closer(tmp_path: Path, folder: Path) -> None:
    """``embedding_bits`` trades size for the embedding's precision."""
    write_weights(tmp_path, CONFIG, read_decoder(folder), group_size=16, embedding_bits=8)
    exact = model_weights.tensors(read_decoder(folder))["embedding"]
    coarse = model_weights.tensors(read_decoder(folder, "int4"))["embedding"]
    fine = model_weights.tensors(read_decoder(tmp_path, "int4"))["embedding"]
    assert np.abs(fine - exact).max() < np.abs(coarse - exact).max() / 8


def test_a_changed_file_is_noticed(folder: Path) -> None:
    """One flipped byte of the weights, with the size unchanged."""
    path = folder / FLOAT32_FILE
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(PackageError, match=r"model\.safetensors is not the file"):
        Package.open(folder)


def test_what_is_no_package_is_said_plainly(folder: Path, tmp_path: Path) -> None:
    """A missing manifest, a missing file, an unknown version and a hostile name each have their own message."""
    with pytest.raises(PackageError, match="expected a model package"):
        Package.open(tmp_path)
    (folder / INT4_FILE).unlink()
    with pytest.raises(PackageError, match="lacks model-int4"):
        Package.open(folder)
    (folder / MANIFEST_FILE).write_text('{"format_version": 9, "files": {}}')
    with pytest.raises(PackageError, match="format version 9"):
        Package.open(folder)
    (folder / MANIFEST_FILE).write_text('{"format_version": 1, "files": {"../x": {}}}')
    with pytest.raises(PackageError, match="without folders"):
        Package.open(folder)


def test_truncated_weights_are_a_package_error(folder: Path) -> None:
    """A download that broke off does not end in a traceback of the file format's library."""
    path = folder / INT4_FILE
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(PackageError, match="cannot read the int4 weights"):
        read_decoder(folder, "int4")
