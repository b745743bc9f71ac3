"""Stored logits: shards hold every step once, are whole or absent, and give back what was written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.data.training import stored_logits
from millrace.data.training.stored_logits import StoredLogits


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 500)), min_size=1, max_size=4),
    st.integers(1, 2000),
)
def test_shards_hold_every_step_once_and_never_two_phases(
    phases: list[tuple[int, int]], shard_tokens: int
) -> None:
    """In order, within the limit where a step is, and cut only where a phase ends or the next step is too much."""
    ends = np.cumsum([steps for steps, _ in phases]).tolist()
    tokens = [tokens for _, tokens in phases]
    shards = stored_logits.shard_steps(ends, tokens, shard_tokens)
    assert [step for first, end in shards for step in range(first, end)] == list(range(ends[-1]))
    for first, end in shards:
        phase = int(np.searchsorted(ends, first, side="right"))
        assert end <= ends[phase]
        assert end - first == 1 or (end - first) * tokens[phase] <= shard_tokens
        assert end == ends[phase] or (end - first + 1) * tokens[phase] > shard_tokens


@pytest.mark.parametrize(("vocab_size", "dtype"), [(65_536, np.uint16), (65_537, np.uint32)])
def test_a_step_is_read_as_it_was_written(tmp_path: Path, vocab_size: int, dtype: type) -> None:
    """Up to float16, from shards of phases with other shapes; a token takes the bytes that are told."""
    rng, k = np.random.default_rng(0), 3
    shards, shapes = [(0, 2), (2, 3), (3, 5)], [(2, 4), (2, 4), (1, 6)]
    written = []
    for number, ((first, end), shape) in enumerate(zip(shards, shapes, strict=True)):
        parts = [
            (rng.normal(size=(*shape, k + 1)).astype(np.float32), rng.integers(0, vocab_size, (*shape, k)))
            for _ in range(first, end)
        ]
        stored_logits.write_shard(tmp_path, number, end - first, iter(parts), vocab_size)
        assert stored_logits.has_shard(tmp_path, number)
        written += parts
    stored_logits.write_index(tmp_path, {"made_for": {"seed": 1}, "top_k": k}, shards)
    opened = StoredLogits.load(tmp_path)
    assert (opened.top_k, opened.made_for) == (k, {"seed": 1})
    for step in (4, 0, 2, 1, 3):
        log_probs, ids = opened.read(step)
        np.testing.assert_array_equal(log_probs, written[step][0].astype(np.float16))
        np.testing.assert_array_equal(ids, written[step][1])
    log_probs, ids = (np.load(tmp_path / name) for name in stored_logits.shard_names(2))
    assert ids.dtype == dtype
    assert log_probs.nbytes + ids.nbytes == 2 * 6 * stored_logits.bytes_per_token(k, vocab_size)


def test_a_shard_that_breaks_off_is_not_there(tmp_path: Path) -> None:
    """An error in the middle leaves nothing that is taken for a shard, and it can be written again."""
    part = np.zeros((1, 2, 3), np.float16), np.zeros((1, 2, 2), np.uint16)

    def broken() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        yield part
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stored_logits.write_shard(tmp_path, 0, 2, broken(), 99)
    assert not stored_logits.has_shard(tmp_path, 0)
    assert not any(path.suffix == ".npy" for path in tmp_path.iterdir())
    stored_logits.write_shard(tmp_path, 0, 2, [part, part], 99)
    assert stored_logits.has_shard(tmp_path, 0)
