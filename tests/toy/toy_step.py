"""A toy step: what came in, with something added; it can be slow and go wrong in every way that a stage can."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Literal

from pydantic import Field

from millrace.components.contract import Component, ComponentError, Config, Context, Inputs, Port, runtime


class StepConfig(Config):
    """What to add, and what goes wrong."""

    add: str = Field("+", description="What to append.")
    note: str = Field("", description="Counts for the identity and changes no bytes.")
    seconds: float = runtime(0.0, ge=0.0)
    fails: Literal["", "error", "defect", "signal", "exit", "silence", "orphan", "memory"] = runtime("")
    failing_attempts: int = runtime(1000)
    checkpoints: int = runtime(0)


def run(context: Context, config: StepConfig, inputs: Inputs) -> None:
    """Appends."""
    attempts = context.work / "attempts"
    count = len(attempts.read_bytes()) + 1 if attempts.exists() else 1
    attempts.write_bytes(b"." * count)
    context.log.info("attempt %d", count)
    context.metric("attempts_loss", float(count), step=count)
    if config.fails and count <= config.failing_attempts:
        fail(config.fails)
    for index in range(config.checkpoints):
        mark = context.work / f"checkpoint-{index}"
        if not mark.exists():
            time.sleep(config.seconds / config.checkpoints)
            mark.write_bytes(b"")
        context.progress(index + 1, config.checkpoints, "checkpoints")
    if not config.checkpoints:
        time.sleep(config.seconds)
    came = inputs.one("documents")
    for file in sorted(came.path.glob("part-*")):
        (context.output("documents") / file.name).write_text(added(file.read_text(), config.add))
    context.metric("documents_out", 1)


def added(text: str, more: str) -> str:
    """The text with more after it."""
    return text + more


def fail(how: str) -> None:
    """Goes wrong."""
    if how == "error":
        raise ComponentError("got [bad] input, expected good input: mend it")
    if how == "defect":
        raise KeyError("a defect")
    if how == "signal":
        os.kill(os.getpid(), signal.SIGSEGV)
    if how == "exit":
        os._exit(7)
    if how == "memory":
        raise MemoryError
    if how == "orphan":
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "silence":
        subprocess.run([sys.executable, "-c", "import time; time.sleep(600)"], check=False)


COMPONENT = Component(
    name="toy_step",
    summary="Appends to a text.",
    config=StepConfig,
    inputs={"documents": Port("documents", "A text.")},
    outputs={"documents": Port("documents", "The longer text.")},
    run="millrace.components.toy_step:run",
    key_metric="documents_out",
)
