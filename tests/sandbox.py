"""A Millrace of a test's own: the checkout's code beside toy components whose files a test may edit.

Tests of the engine run the command line as a user does, in processes that can be killed. The sandbox is a folder on
their PYTHONPATH with a namespace ``millrace`` in it, whose ``components`` are a copy and whose other packages are links,
so that no test edits the checkout and the real components are there as well. It has caches and a home of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from millrace import pipelines

TOYS = Path(__file__).parent / "toy"
NAMES = tuple(sorted(file.stem for file in TOYS.glob("toy_*.py")))
CHECKOUT = Path(str(pipelines.__path__[0])).resolve().parent
SPECS = [
    Path(path)
    for path in (os.environ.get("MILLRACE_SPEC"), Path(__file__).parent / "reduced.yaml")
    if path and Path(path).exists()
]
"""Whole pipelines of the real components, for slow tests: the one that the variable names, and the reduced reference."""
CHAIN: dict[str, Any] = {
    "read": {"uses": "toy_source"},
    "clean": {"uses": "toy_step", "inputs": {"documents": "read.documents"}},
    "sort": {"uses": "toy_step", "inputs": {"documents": "clean.documents"}, "with": {"add": "!"}},
    "other": {"uses": "toy_step", "inputs": {"documents": "read.documents"}, "with": {"add": "?"}},
    "measure": {"uses": "toy_report", "inputs": {"texts": {"left": "sort.documents", "right": "other.documents"}}},
    "gate": {"uses": "toy_gate", "inputs": {"reports": {"size": "measure.report"}}},
    "pack": {"uses": "toy_package", "inputs": {"text": "sort.documents", "gate": "gate.report"}},
}  # fmt: skip
"""Seven stages with a fork, a port that takes many, a gate and a package that reads the lineage."""
LINE = {name: CHAIN[name] for name in ("read", "clean", "sort")}
"""Three of them, one after another."""


class Sandbox:
    """A folder with a spec, and the command line to run on it.

    Args:
        root: An empty folder.
        stages: The spec's stages.
    """

    def __init__(self, root: Path, stages: Mapping[str, Any] = CHAIN) -> None:
        self.folder = root / "project"
        self.folder.mkdir(parents=True)
        self.site = root / "site"
        self.components = self.site / "millrace" / "components"
        shutil.copytree(
            CHECKOUT / "components", self.components, ignore=shutil.ignore_patterns("__pycache__")
        )
        for file in TOYS.glob("toy_*.py"):
            shutil.copy(file, self.components / file.name)
        with (self.components / "registry.py").open("a") as registry:
            registry.write(f"\nCOMPONENTS.update({dict(zip(NAMES, NAMES, strict=True))!r})\n")
        for package in ("data", "model", "pipelines"):
            (self.site / "millrace" / package).symlink_to(CHECKOUT / package)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MILLRACE")},
            "PYTHONPATH": str(self.site),
            "XDG_CACHE_HOME": str(root / "cache"),
            "COLUMNS": "200",
        }
        self.write(stages)

    @property
    def store(self) -> Path:
        """The spec's store."""
        return self.folder / ".millrace"

    def write(self, stages: Mapping[str, Any], **top: Any) -> None:
        """Writes the spec."""
        text = json.dumps({"name": "toy", "stages": stages, **top}, indent=1)
        (self.folder / "pipeline.yaml").write_text(text)

    def edit(self, component: str, old: str, new: str) -> None:
        """Replaces a text in the sandbox's copy of a component."""
        file = self.components / f"{component}.py"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    def command(self, *arguments: str) -> list[str]:
        """The command line's process."""
        start = "from millrace.pipelines.cli import main; main()"
        return [sys.executable, "-P", "-c", start, *arguments]

    def call(
        self, *arguments: str, cwd: Path | None = None, defect: bool = False, before: str = "", **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command and returns what came of it; a traceback in its output fails the test, unless of a defect.

        ``before`` is Python that runs in the command's process first, to take something away from it: `preexec_fn`
        would fork this process, which threads of jax do not survive.
        """
        command = self.command(*arguments)
        if before:
            then = "import os, sys; os.execv(sys.argv[1], sys.argv[1:])"
            command = [sys.executable, "-c", f"{before}; {then}", *command]
        done = subprocess.run(
            command,
            cwd=cwd or self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=600,
            **options,
        )
        assert defect or "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
        return done

    def json(self, *arguments: str, code: int = 0, **options: Any) -> dict[str, Any]:
        """Runs a command with ``--json``, checks its exit code and returns what it printed."""
        done = self.call(*arguments, "--json", **options)
        assert done.returncode == code, done.stdout + done.stderr
        value: dict[str, Any] = json.loads(done.stdout)
        return value

    def run(self, *arguments: str, code: int = 0, **options: Any) -> dict[str, Any]:
        """``millrace run``; returns its JSON."""
        return self.json("run", *arguments, code=code, **options)

    def statuses(self, *arguments: str, code: int = 0, **options: Any) -> dict[str, str]:
        """``millrace run``; returns each stage's status."""
        return {
            name: stage["status"]
            for name, stage in self.run(*arguments, code=code, **options)["stages"].items()
        }

    def plan(self, *arguments: str) -> dict[str, dict[str, Any]]:
        """``millrace plan``; returns each stage's step."""
        return {step["stage"]: step for step in self.json("plan", *arguments)["stages"]}

    @contextlib.contextmanager
    def started(self, *arguments: str, **options: Any) -> Iterator[subprocess.Popen[Any]]:
        """A command in a process group of its own, which is killed at the end."""
        process = subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment,
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **options,
        )
        try:
            yield process
        finally:
            kill_tree(process.pid)
            process.communicate()

    def events(self, run: str) -> list[dict[str, Any]]:
        """The record of a run's stages, in order."""
        lines = (self.store / "runs" / run / "events.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def verify(self) -> None:
        """Fails when anything in the store is damaged."""
        assert self.json("store", "verify")["damage"] == []


def descendants(process: int) -> list[int]:
    """Ids of a process's children, their children and so on."""
    found = []
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, task.read_text().split()):
                found += [child, *descendants(child)]
    return found


def kill_tree(process: int) -> None:
    """``kill -9`` of a process and of everything below it, the engine first as a power cut would."""
    for number in (process, *descendants(process)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)


def found(folder: Path, name: str) -> list[Path]:
    """Files below a folder whose names start with ``name``, while a run makes and removes folders there."""
    return [
        Path(place, file) for place, _, files in os.walk(folder) for file in files if file.startswith(name)
    ]


def wait_until(condition: Any, seconds: float = 30.0) -> None:
    """Waits until a function of nothing is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)
