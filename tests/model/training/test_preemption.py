"""A process that is asked to end saves between two steps and ends; asked twice, it ends at once."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from millrace.model.training.preemption import StopRequest

TRAIN = """
import sys, time
from pathlib import Path
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from millrace.model.states.checkpoints import Checkpoints
from millrace.model.training.loop import Supervision, fit
from millrace.model.training.step import Objective
from millrace.model.training.preemption import Preempted, StopRequest

class Line(nnx.Module):
    def __init__(self):
        self.slopes = nnx.Param(jnp.zeros((3,)))

def batches(step):
    print(step, flush=True)
    time.sleep(float(sys.argv[2]))
    return {"x": np.random.default_rng(step).normal(size=(8, 3)).astype(np.float32)}

def loss_of(line, batch):
    return jnp.mean((batch["x"] @ (line.slopes[...] - 1)) ** 2), {}

line = Line()
with Checkpoints(Path(sys.argv[1]), 999) as checkpoints, StopRequest() as stop:
    try:
        fit(
            line, Objective(loss_of, optax.adam(0.1)), batches, 200, stores=[checkpoints], supervision=Supervision(stop)
        )
    except Preempted as error:
        print("stopped", error.done)
        sys.exit(3)
print(np.asarray(line.slopes[...]).tobytes().hex())
"""


def command(folder: Path, seconds: float) -> list[str]:
    return [sys.executable, "-c", TRAIN, str(folder), str(seconds)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_that_is_asked_to_end_saves_and_the_next_goes_on(
    tmp_path: Path, number: signal.Signals
) -> None:
    """It ends by itself, with a checkpoint of its last step, and the next process asks for no step again."""
    folder = tmp_path / "stopped"
    with subprocess.Popen(command(folder, 0.05), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while process.stdout.readline() != "20\n":
            pass
        process.send_signal(number)
        *_, last = process.stdout.read().split()
        assert process.wait() == 3
    assert [path.name for path in folder.iterdir()] == [last]
    resumed, undisturbed = (
        subprocess.run(command(place, 0), capture_output=True, text=True, check=True).stdout.split()
        for place in (folder, tmp_path / "undisturbed")
    )
    assert resumed[1] == last  # after step 0, which fit asks for the shapes
    assert resumed[-1] == undisturbed[-1]


def test_a_second_signal_has_its_usual_effect() -> None:
    """Whoever cannot wait is obeyed, and the handlers from before are back in any case."""
    before = signal.getsignal(signal.SIGINT)
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
