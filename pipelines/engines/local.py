"""The local engine: runs ready stages in parallel as child processes, and goes on from whatever the store holds.

One thread watches every child's event pipe. A stage is decided on when its inputs are there (``Planner.step``), so a
stage whose inputs came out the same as before is reused in the middle of a run. Children die with the engine and the
engine keeps nothing in memory that the store does not hold, so a run that was killed is simply run again.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal, Protocol

from millrace.pipelines.plan.plan import Planner, StagePlan
from millrace.pipelines.spec.graph import ancestors, needs, order
from millrace.pipelines.spec.models import Node
from millrace.pipelines.stages.environment import stage_environment
from millrace.pipelines.stages.request import request_for, to_json
from millrace.pipelines.store.record import StageRecord

Status = Literal["waiting", "running", "ran", "reused", "failed", "closed", "skipped", "interrupted"]
POLL_SECONDS = 0.2
KILL_AFTER_SECONDS = 30.0  # a training ends its step and saves its state first; a second Ctrl-C does not wait
LOG_TAIL_LINES = 8


class Display(Protocol):
    """Shows a run while it happens."""

    def stage(self, outcome: Outcome) -> None:
        """A stage changed its status."""

    def event(self, outcome: Outcome, event: Mapping[str, Any]) -> None:
        """A running stage reported progress or a metric."""


@dataclass
class Outcome:
    """The outcome of one stage in one run.

    Attributes:
        name: The stage.
        status: Its state.
        reasons: Why it ran.
        record: Its record, once it is done.
        key: Its stage key, once it has started.
        message: Why it failed.
        seconds: Wall time in this run.
        attempts: Child processes started.
        log: Its log file in this run, or None when it was reused.
    """

    name: str
    status: Status = "waiting"
    reasons: tuple[str, ...] = ()
    record: StageRecord | None = None
    key: str | None = None
    message: str | None = None
    seconds: float = 0.0
    attempts: int = 0
    log: Path | None = None


@dataclass
class RunResult:
    """How a run ended.

    Attributes:
        run: The run's id.
        status: ``done``, ``failed``, ``closed`` or ``interrupted``.
        outcomes: Stage -> outcome, in running order.
        seconds: Wall time.
    """

    run: str
    status: str
    outcomes: dict[str, Outcome]
    seconds: float

    @property
    def exit_code(self) -> int:
        """0 done, 1 failed, 3 gate closed, 130 interrupted."""
        return {"done": 0, "failed": 1, "closed": 3, "interrupted": 130}[self.status]


@dataclass
class _Child:
    """A running stage: its process and its event pipe."""

    outcome: Outcome
    plan: StagePlan
    process: subprocess.Popen[bytes]
    events: int
    started: float
    buffer: bytes = b""
    last: dict[str, Any] = field(default_factory=dict)
    timed_out: bool = False


class LocalEngine:
    """Runs a planned pipeline on this machine.

    Args:
        planner: The pipeline, its store and the decisions.
        display: Shows progress.
        jobs: How many stages run at once.
        selected: Stages to run; the others must be in the store. All when None.
    """

    def __init__(
        self, planner: Planner, display: Display, *, jobs: int, selected: Iterable[str] | None = None
    ) -> None:
        self.planner = planner
        self.pipeline = planner.pipeline
        self.store = planner.store
        self.display = display
        self.jobs = jobs
        names = order(self.pipeline.nodes)
        self.selected = set(names if selected is None else selected)
        self.run_id = self.store.new_run(secrets.token_hex(2))
        self.outcomes = {name: Outcome(name) for name in names}
        self.known: dict[str, StageRecord] = {}
        self.plans: dict[str, StagePlan] = {}
        self.children: dict[int, _Child] = {}
        self.selector = selectors.DefaultSelector()
        self.started = time.time()
        self._events: IO[str] | None = None

    def run(self) -> RunResult:
        """Runs until everything is done or nothing more can be.

        Returns:
            How it ended; failures are in it, not raised.
        """
        folder = self.store.run_folder(self.run_id)
        (folder / "logs").mkdir(parents=True)
        self.store.write_spec(self.run_id, self.pipeline.resolved())
        with (
            open(folder / "events.jsonl", "a", encoding="utf-8", buffering=1) as self._events,
            self.store.in_use(),
        ):
            self._save("running")
            status = "failed"
            # A scheduler's SIGTERM, a closed terminal and Ctrl-\\ count as Ctrl-C.
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
                if signal.getsignal(number) != signal.SIG_IGN:  # nohup
                    signal.signal(number, _interrupt)
            try:
                self._loop()
                status = self._verdict()
            except KeyboardInterrupt:
                status = "interrupted"
            finally:
                self._stop_children()
                self._save(status)
            self.planner.code.save()
        if not self.store.is_local:
            self._upload(folder)
        return RunResult(self.run_id, status, self.outcomes, time.time() - self.started)

    def _loop(self) -> None:
        while True:
            failed = any(outcome.status in ("failed", "closed") for outcome in self.outcomes.values())
            progressed = False if failed else self._decide()
            if not self.children and not progressed:
                return
            for key, _ in self.selector.select(timeout=0 if progressed else POLL_SECONDS):
                self._read(self.children[key.fd])
            self._check_children()

    def _decide(self) -> bool:
        """Reuses or starts every stage that can go; returns whether any changed.

        The run's record names the key of each of them before its work begins, so that `store gc` knows what a run
        uses that is killed the moment after.
        """
        changed, starting = False, list[str]()
        for name, outcome in self.outcomes.items():
            node = self.pipeline.nodes[name]
            if outcome.status != "waiting" or not self._ready(node):
                continue
            if (
                name not in self.plans
            ):  # once: its inputs are known, so nothing in this run changes the decision
                self.plans[name] = self.planner.step(node, self.known, read=True)
            plan = self.plans[name]
            if plan.record is not None:
                self.store.forget_work(plan.record.key)
                self._finish(outcome, "reused", plan.record)
                changed = True
            elif name not in self.selected:
                outcome.message = f"not selected, and not in the store ({plan.reasons[0]})"
                outcome.status = "skipped"
                changed = True
            elif len(self.children) + len(starting) < self.jobs:
                outcome.reasons = plan.reasons
                outcome.key = plan.identity.key if plan.identity else None
                starting.append(name)
                changed = True
        if changed:
            self._save("running")
        for name in starting:
            self._start(self.pipeline.nodes[name], self.plans[name], self.outcomes[name])
        return changed

    def _ready(self, node: Node) -> bool:
        reads_all = node.component.reads_lineage
        needed = ancestors(self.pipeline.nodes, node.name) if reads_all else set(needs(node))
        return needed <= self.known.keys()

    def _start(self, node: Node, plan: StagePlan, outcome: Outcome) -> None:
        if plan.identity is None:
            raise ValueError(f"{node.name} has unknown inputs")
        request = request_for(self.pipeline, self.store, node, plan.identity, self.run_id)
        folder = self.store.run_folder(self.run_id)
        outcome.log = folder / "logs" / f"{node.name}.log"
        outcome.attempts += 1
        file = folder / f"{node.name}.request.json"
        file.write_text(json.dumps(to_json(request)), encoding="utf-8")
        read_end, write_end = os.pipe()
        # The safe path keeps a user's json.py beside the spec from being imported in place of the library's.
        environment = {**stage_environment(os.environ), "PYTHONSAFEPATH": "1"}
        with open(outcome.log, "ab") as log:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "millrace.pipelines.stages.stage_process",
                    str(file.absolute()),
                    str(write_end),
                    str(os.getpid()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(write_end,),
                env=environment,
                cwd=self.pipeline.folder,
                start_new_session=True,
            )
        os.close(write_end)
        os.set_blocking(read_end, False)
        child = _Child(outcome, plan, process, read_end, time.monotonic())
        self.children[read_end] = child
        self.selector.register(read_end, selectors.EVENT_READ)
        outcome.status = "running"
        self._log_event(
            outcome, {"event": "started", "reasons": list(plan.reasons), "attempt": outcome.attempts}
        )
        self.display.stage(outcome)

    def _read(self, child: _Child) -> None:
        """Takes the events that a child has reported; at the end of its pipe, its result."""
        try:
            data = os.read(child.events, 1 << 16)
        except BlockingIOError:
            return
        if data:
            *lines, child.buffer = (child.buffer + data).split(b"\n")
            for line in lines:
                event = json.loads(line)
                if event["event"] in ("done", "reused", "failed"):
                    child.last = event
                if event["event"] != "progress":
                    self._log_event(child.outcome, event)
                self.display.event(child.outcome, event)
            return
        self.selector.unregister(child.events)
        os.close(child.events)
        del self.children[child.events]
        child.process.wait()
        child.outcome.seconds += time.monotonic() - child.started
        self._ended(child)

    def _ended(self, child: _Child) -> None:
        outcome, last = child.outcome, child.last
        if last.get("event") in ("done", "reused"):
            record = self.store.record(last["key"])
            if record is not None:
                self._finish(outcome, "ran" if last["event"] == "done" else "reused", record)
                return
        node = self.pipeline.nodes[outcome.name]
        ours = last.get("event") == "failed" and not last.get("defect")
        if not ours and outcome.attempts <= node.stage.resources.retries:
            self._log_event(outcome, {"event": "retry", "message": self._failure(child)})
            self._start(node, child.plan, outcome)
            return
        outcome.message = self._failure(child)
        outcome.status = "closed" if last.get("gate") else "failed"
        self._log_event(outcome, {"event": outcome.status, "message": outcome.message})
        self._save("running")
        self.display.stage(outcome)

    def _failure(self, child: _Child) -> str:
        if child.timed_out:
            return f"took longer than its timeout of {self.pipeline.nodes[child.outcome.name].stage.resources.timeout}"
        if child.last.get("event") == "failed" and not child.last.get("defect"):
            return str(child.last["message"])
        code = child.process.returncode
        if code is not None and code < 0:
            hint = (
                "; the kernel kills a process this way when memory runs out"
                if -code == signal.SIGKILL
                else ""
            )
            what = f"its process was ended by {signal.Signals(-code).name}{hint}"
        else:
            what = str(child.last.get("message") or f"its process ended with exit code {code}")
        return f"{what}\n{_tail(child.outcome.log)}the whole log: {child.outcome.log}"

    def _finish(self, outcome: Outcome, status: Status, record: StageRecord) -> None:
        outcome.status, outcome.record = status, record
        self.known[outcome.name] = record
        self._log_event(outcome, {"event": status, "key": record.key})
        if status == "ran":
            self._save("running")
        self.display.stage(outcome)

    def _check_children(self) -> None:
        """Ends children that took too long, and whatever a dead child left running with our pipe in its hands."""
        for child in self.children.values():
            if child.process.poll() is not None:
                _signal(child.process, signal.SIGKILL)
            limit = self.pipeline.nodes[child.outcome.name].stage.resources.timeout_seconds
            if limit and not child.timed_out and time.monotonic() - child.started > limit:
                child.timed_out = True
                _signal(child.process, signal.SIGKILL)

    def _stop_children(self) -> None:
        for child in self.children.values():
            child.outcome.status = "interrupted"
            _signal(child.process, signal.SIGTERM)
        deadline = time.monotonic() + KILL_AFTER_SECONDS
        for child in self.children.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0.0, deadline - time.monotonic()))
            _signal(child.process, signal.SIGKILL)
            child.process.wait()
            self._last_words(child)
        self.children.clear()

    def _last_words(self, child: _Child) -> None:
        """Keeps a stopped child's message about its end, for example which step it saved."""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(child.events, 1 << 16):
                child.buffer += data
        for line in child.buffer.split(b"\n")[:-1]:
            event = json.loads(line)
            if event["event"] == "failed" and not event.get("defect"):
                child.outcome.message = str(event["message"])
                self._log_event(child.outcome, {"event": "interrupted", "message": child.outcome.message})

    def _verdict(self) -> str:
        for outcome in self.outcomes.values():
            if outcome.status == "waiting":
                outcome.status = "skipped"
        self._check_outputs()
        statuses = [outcome.status for name, outcome in self.outcomes.items() if name in self.selected]
        if "failed" in statuses:
            return "failed"
        if "closed" in statuses:
            return "closed"
        return "done" if all(status in ("ran", "reused") for status in statuses) else "failed"

    def _check_outputs(self) -> None:
        """Fails every stage whose outputs went missing while the run lasted, whoever removed them."""
        for outcome in self.outcomes.values():
            lost = self.store.lost(outcome.record) if outcome.record else None
            if lost is not None:
                outcome.status, outcome.message = (
                    "failed",
                    f"{lost}: something removed or changed it during the run",
                )

    def _save(self, status: str) -> None:
        stages = {
            name: {
                "status": outcome.status,
                "key": outcome.record.key if outcome.record else outcome.key,
                "seconds": round(outcome.seconds, 3),
                "reasons": list(outcome.reasons),
                "message": outcome.message,
            }
            for name, outcome in self.outcomes.items()
        }
        now = time.time()
        state = {
            "id": self.run_id,
            "pipeline": self.pipeline.spec.name,
            "status": status,
            "started": self.started,
            "updated": now,
            "stages": stages,
        }
        self.store.write_run(self.run_id, "run.json", state)

    def _log_event(self, outcome: Outcome, event: Mapping[str, Any]) -> None:
        if self._events is not None:
            self._events.write(
                json.dumps({"time": round(time.time(), 3), "stage": outcome.name, **event}) + "\n"
            )

    def _upload(self, folder: Path) -> None:
        """Copies a run's events and logs to an object store."""
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                self.store.backend.write(
                    f"runs/{self.run_id}/{file.relative_to(folder).as_posix()}", file.read_bytes()
                )


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Signals a child's own process group, which holds whatever it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _tail(log: Path | None) -> str:
    """The last lines of a log, indented, for a failure message."""
    if log is None or not log.exists():
        return ""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_TAIL_LINES:]
    return "".join(f"  | {line}\n" for line in lines)
