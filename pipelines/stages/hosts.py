"""A stage on several hosts: as many processes as hosts, joined by JAX's coordinator, and the one that supervises them.

The supervisor is the stage's own process. It holds the stage's lock, passes on what host 0 reports, writes every line
of the hosts to the stage's log with their number, and uses no devices. A training step needs all hosts, so when one
dies the others are killed at once, and all start again from the newest state as long as the stage has ``retries``.
``memory`` outlives them: files without a name that belong to the supervisor and are freed with it.

All hosts are processes of this machine; a cluster would start the same ``host_process`` on each machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, TYPE_CHECKING, Any

from millrace.components.contract import Component, ComponentError, Context

from .environment import stage_environment

if TYPE_CHECKING:
    from .request import Request

GRACE_SECONDS = 10.0  # for the other hosts to end by themselves once one has said why it ended
POLL_SECONDS = 0.1
MEMORY_FILES = 2  # for each host: while one is written, the other is whole


@dataclass(frozen=True)
class Seat:
    """A host process's place among the others, told to it besides its request.

    Attributes:
        host: Its number; host 0 writes the outputs.
        hosts: How many there are.
        coordinator: ``address:port``.
        work: The stage's work folder, shared.
        outputs: Port -> folder.
        memory: File descriptors of the host's memory.
    """

    host: int
    hosts: int
    coordinator: str
    work: str
    outputs: Mapping[str, str]
    memory: tuple[int, ...] = ()


@dataclass
class _Host:
    """A host process and what came from it."""

    number: int
    process: subprocess.Popen[bytes]
    events: bytes = b""
    output: bytes = b""
    last: Mapping[str, Any] = field(default_factory=dict)

    def signalled(self) -> str | None:
        """The signal that ended it, if one did."""
        code = self.process.poll()
        return signal.Signals(-code).name if code is not None and code < 0 else None


def needs_supervisor(component: Component, config: Any, hosts: int) -> bool:
    """Whether a stage runs in processes below a supervisor: on several hosts, or to keep state in memory."""
    return hosts > 1 or (component.keeps_memory is not None and component.keeps_memory(config))


def run(request: Request, context: Context, emit: Any, work: Path, outputs: Mapping[str, Path]) -> None:
    """Runs a stage's component in its host processes.

    Args:
        request: The stage.
        context: Takes metrics, progress and log lines.
        emit: Takes the event of a retry.
        work: The work folder.
        outputs: Port -> folder, filled by host 0.

    Raises:
        ComponentError: A host said so, or hosts died more often than the stage has retries.
    """
    with ExitStack() as stack, _forwarded() as told:
        memory = [
            tuple(stack.enter_context(_memory(f"host {host}")) for _ in range(MEMORY_FILES))
            for host in range(request.hosts)
        ]
        cause: str | None = None
        for attempt in range(request.retries + 1):
            cause = _attempt(request, context, told, work, outputs, memory)
            if cause is None:
                return
            if told.number is not None or attempt == request.retries:
                break
            context.log.warning(
                "%s; all hosts start again (retry %d of %d)", cause, attempt + 1, request.retries
            )
            emit({"event": "retry", "message": cause})
    if told.number is not None:
        end = f"while it was ended by {signal.Signals(told.number).name}"
    elif request.retries:
        end = f"and its retries ({request.retries}) are used up"
    else:
        end = "and the stage has no retries"
    raise ComponentError(
        f"{cause}, {end}; `millrace logs {request.stage}` tells more, and running again goes on from what is saved"
    )


def _attempt(
    request: Request,
    context: Context,
    told: _Told,
    work: Path,
    outputs: Mapping[str, Path],
    memory: list[tuple[int, ...]],
) -> str | None:
    """Starts all hosts and waits for them; returns why they ended too early, or None."""
    coordinator = f"localhost:{_free_port()}"
    folders = {port: str(path) for port, path in outputs.items()}
    for path in outputs.values():  # host 0 may have died while it wrote
        shutil.rmtree(path)
        path.mkdir()
    selector, hosts = selectors.DefaultSelector(), told.hosts
    try:
        for number in range(request.hosts):
            seat = Seat(number, request.hosts, coordinator, str(work), folders, memory[number])
            hosts.append(_start(request, seat, selector))
        return _watch(request, context, hosts, selector)
    finally:
        for host in reversed(hosts):  # host 0, which coordinates, last: the others would complain
            _kill(host)
            host.process.wait()
        _drain(context, selector, request.hosts)
        selector.close()
        hosts.clear()


def _watch(
    request: Request, context: Context, hosts: list[_Host], selector: selectors.BaseSelector
) -> str | None:
    deadline: float | None = None
    while True:
        for key, _ in selector.select(POLL_SECONDS):
            _read(context, selector, key, request.hosts)
        if all(host.last.get("event") == "done" for host in hosts):
            return None
        # A host that is done waits to be ended, so that its part of the coordination goes on.
        ended = [host for host in hosts if host.process.poll() is not None]
        if not ended:
            continue
        _drain(context, selector, request.hosts)
        # JAX aborts a host that has lost another, so an abort is the last cause to name.
        for host in sorted(ended, key=lambda host: host.signalled() == "SIGABRT"):
            if (name := host.signalled()) is not None:
                hint = (
                    "; the kernel kills a process this way when memory runs out" if name == "SIGKILL" else ""
                )
                return f"host {host.number} was ended by {name}{hint}"
        reasons = [host for host in ended if host.last.get("event") == "failed"]
        known = [host for host in reasons if not host.last.get("defect")]
        now = time.monotonic()
        deadline = deadline or now + (GRACE_SECONDS if known else 1.0)
        if len(ended) < len(hosts) and now < deadline:
            continue
        if known:
            raise ComponentError(str(known[0].last["message"]))
        host = (reasons or ended)[0]
        what = host.last.get("message") or f"it ended with exit code {host.process.returncode}"
        return f"host {host.number} failed: {what}"


def _start(request: Request, seat: Seat, selector: selectors.BaseSelector) -> _Host:
    read_end, write_end = os.pipe()
    process = subprocess.Popen(
        [
            sys.executable,
            "-P",
            "-m",
            "millrace.pipelines.stages.host_process",
            str(write_end),
            str(os.getpid()),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=(write_end, *seat.memory),
        start_new_session=True,  # signals come by way of the supervisor, once
        env=stage_environment(os.environ),
    )
    os.close(write_end)
    assert process.stdin is not None
    assert process.stdout is not None
    host = _Host(seat.host, process)
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps({"request": asdict(request), "seat": asdict(seat)}).encode() + b"\n")
        process.stdin.flush()
    selector.register(os.fdopen(read_end, "rb", buffering=0), selectors.EVENT_READ, (host, "events"))
    selector.register(process.stdout, selectors.EVENT_READ, (host, "output"))
    return host


def _read(context: Context, selector: selectors.BaseSelector, key: selectors.SelectorKey, hosts: int) -> None:
    """Takes what a host has written to one of its pipes."""
    host, which = key.data
    file: IO[bytes] = key.fileobj  # type: ignore[assignment]
    data = os.read(file.fileno(), 1 << 16)
    *lines, rest = (getattr(host, which) + data).split(b"\n")
    if not data:
        selector.unregister(file)
        file.close()
        lines, rest = ([rest] if rest and which == "output" else []), b""
    setattr(host, which, rest)
    for line in lines:
        if which == "output":
            prefix = f"host {host.number} | " if hosts > 1 else ""
            sys.stderr.write(prefix + line.decode(errors="replace") + "\n")
        else:
            _take(context, host, json.loads(line))


def _drain(context: Context, selector: selectors.BaseSelector, hosts: int) -> None:
    """Reads what is in the pipes."""
    while ready := selector.select(0):
        for key, _ in ready:
            _read(context, selector, key, hosts)


def _take(context: Context, host: _Host, event: Mapping[str, Any]) -> None:
    if event["event"] in ("done", "failed"):
        host.last = event
    elif host.number == 0 and event["event"] == "metric":
        context.metric(event["name"], float(event["value"]), event["step"])
    elif host.number == 0:
        context.progress(event["done"], event["total"], event["unit"])


def _kill(host: _Host) -> None:
    """Ends a host and whatever it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(host.process.pid, signal.SIGKILL)
    assert host.process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        host.process.stdin.close()


@dataclass
class _Told:
    """The hosts of now, and the signal that the supervisor was sent."""

    hosts: list[_Host] = field(default_factory=list)
    number: int | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        for host in self.hosts:
            with contextlib.suppress(ProcessLookupError):
                host.process.send_signal(number)


@contextlib.contextmanager
def _forwarded() -> Iterator[_Told]:
    """SIGTERM and SIGINT go to the hosts, which save their state and end."""
    from millrace.model.training.preemption import SIGNALS

    told = _Told()
    if threading.current_thread() is not threading.main_thread():
        yield told
        return
    before = {number: signal.signal(number, told) for number in SIGNALS}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _memory(name: str) -> Iterator[int]:
    """The descriptor of an empty file in memory, which takes none until it is written."""
    if sys.platform != "linux":
        raise ComponentError(
            "got a stage with hosts or replicas in memory, expected Linux, which has files in memory"
        )
    handle = os.memfd_create(name)
    try:
        yield handle
    finally:
        os.close(handle)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return int(free.getsockname()[1])
