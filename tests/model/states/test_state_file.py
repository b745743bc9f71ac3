"""A state on disk: the same state is the same bytes, and another training's is refused by name."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_arrays
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from millrace.model.states import integrity, state_file

ARRAYS = numpy_arrays.arrays(
    st.sampled_from([np.float32, np.int32, np.uint8, np.bool_, jnp.bfloat16]),
    numpy_arrays.array_shapes(min_dims=0, max_dims=3, max_side=4),
    elements=st.just(1),
)
STATES = st.recursive(
    ARRAYS, lambda inner: st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=3), max_leaves=6
).filter(lambda value: isinstance(value, dict))


@given(STATES)
def test_a_state_comes_back_bit_for_bit_and_is_the_same_bytes_again(state: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        for folder in (Path(first), Path(second)):
            state_file.write(folder, state_file.host_copy(jax.tree.map(jnp.asarray, state)))
        assert (Path(first) / state_file.FILE).read_bytes() == (Path(second) / state_file.FILE).read_bytes()
        assert integrity.damage(Path(first)) == []
        read = state_file.read(Path(first), state)
    same = jax.tree.map(lambda a, b: a.dtype == b.dtype and a.tobytes() == b.tobytes(), state, read)
    assert all(jax.tree.leaves(same))


def saved(folder: Path) -> dict[str, Any]:
    state = {"params": {"query": jnp.arange(8, dtype=jnp.bfloat16).reshape(4, 2)}, "step": jnp.int32(7)}
    state_file.write(folder, state_file.host_copy(state))
    return state


def test_arrays_are_named_by_their_path_and_copied(tmp_path: Path) -> None:
    state = saved(tmp_path)
    copies = state_file.host_copy(state)
    assert sorted(copies) == ["params.query", "step"]
    copies["step"][...] = 0
    assert int(state["step"]) == 7


def test_a_state_is_read_in_the_layout_that_is_asked_for(tmp_path: Path) -> None:
    state = saved(tmp_path)
    layout = NamedSharding(Mesh(np.array(jax.devices()[:1]), ("data",)), PartitionSpec("data"))
    wanted = jax.ShapeDtypeStruct((4, 2), jnp.bfloat16, sharding=layout)
    read = state_file.read(tmp_path, {"params": {"query": wanted}})["params"]["query"]
    assert read.sharding == layout
    np.testing.assert_array_equal(read, state["params"]["query"])


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ({"other": np.zeros(2)}, "got nothing for other, expected float64"),
        ({"step": np.zeros((), np.int64)}, r"got int32 \[\] for step, expected int64 \[\]"),
        ({"params": {"query": np.zeros((2, 4), jnp.bfloat16)}}, r"got bfloat16 \[4, 2\] for params.query"),
    ],
)
def test_a_state_of_another_shape_is_named(tmp_path: Path, template: dict[str, Any], problem: str) -> None:
    saved(tmp_path)
    with pytest.raises(state_file.OtherTraining, match=problem):
        state_file.read(tmp_path, template)


@pytest.mark.parametrize("change", ["flip", "cut", "remove"])
def test_a_seal_tells_that_the_file_changed(tmp_path: Path, change: str) -> None:
    saved(tmp_path)
    file = tmp_path / state_file.FILE
    data = bytearray(file.read_bytes())
    if change == "flip":
        data[-1] ^= 1
    if change == "remove":
        file.unlink()
    else:
        file.write_bytes(data if change == "flip" else data[:-3])
    assert state_file.FILE in " ".join(integrity.damage(tmp_path))
