"""The order of small supervised sets."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.data.training.epochs import Epochs


@given(st.integers(1, 40), st.integers(1, 17), st.integers(0, 9))
def test_every_epoch_holds_every_item_once(items: int, batch_size: int, seed: int) -> None:
    """Batches laid end to end are permutations of all items, also where an epoch ends inside a batch."""
    epochs = Epochs(seed, items, batch_size)
    steps = -(-3 * items // batch_size)
    drawn = np.concatenate([epochs.rows(step) for step in range(steps)])[: 3 * items]
    for epoch in drawn.reshape(3, items):
        assert sorted(epoch) == list(range(items))


def test_a_step_needs_no_history() -> None:
    """Asking for a late step first gives what a run from the start gives, and epochs and seeds differ."""
    late = Epochs(3, 50, 8).rows(40)
    whole = Epochs(3, 50, 8)
    assert [list(whole.rows(step)) for step in range(41)][40] == list(late)
    assert list(Epochs(4, 50, 8).rows(40)) != list(late)
    assert list(Epochs(3, 50, 50).rows(0)) != list(Epochs(3, 50, 50).rows(1))


def test_an_empty_set_is_refused() -> None:
    """Nothing cannot be drawn from."""
    with pytest.raises(ValueError, match="0 items"):
        Epochs(0, 0, 4)
