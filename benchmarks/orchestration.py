"""Measures the overhead of an orchestrator: fourteen stages that do next to nothing, run first and run again.

A pipeline is changed and run again all day, so the time of a run that has nothing to do is what a person waits for.
Measured is the whole process, from its start to its end, the median of rounds in which every program takes its turn,
so that a busy moment of the machine meets all of them. Metaflow, DVC and Snakemake are measured when they are
installed (``dvc`` and ``snakemake`` on the PATH, ``metaflow`` importable by this Python or by METAFLOW_PYTHON).

    python benchmarks/orchestration.py [--rounds 5] [--json] [--spec pipeline.yaml]

The stages are the tests' toy components: a chain of fourteen that each copy a small text.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.sandbox import Sandbox

STAGES = 14
TARGET_SECONDS = {"millrace run, unchanged": 0.8, "millrace --help": 0.3}


@dataclass(frozen=True)
class Program:
    """One orchestrator with the fourteen stages.

    Attributes:
        name: Name in the table.
        folder: Where its commands run.
        command: Runs what has to run.
        again: The same when there is nothing to do; often the same command.
        reset: Forgets all that was run.
        environment: Its environment.
    """

    name: str
    folder: Path
    command: Sequence[str]
    again: Sequence[str]
    reset: Callable[[], None]
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    def seconds(self, command: Sequence[str]) -> float:
        """Wall time of one whole process.

        Raises:
            RuntimeError: It failed.
        """
        started = time.perf_counter()
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)
        seconds = time.perf_counter() - started
        if done.returncode:
            raise RuntimeError(
                f"{self.name}: {' '.join(command)} failed: {done.stdout[-500:]}{done.stderr[-500:]}"
            )
        return seconds


def millrace(root: Path) -> Program:
    """Millrace itself, by the command that users type."""
    stages: dict[str, Any] = {"stage-1": {"uses": "toy_source"}}
    for number in range(2, STAGES + 1):
        inputs = {"documents": f"stage-{number - 1}.documents"}
        stages[f"stage-{number}"] = {"uses": "toy_step", "inputs": inputs}
    sandbox = Sandbox(root / "millrace", stages)
    command = [*_millrace(), "run"]

    def reset() -> None:
        shutil.rmtree(sandbox.store, ignore_errors=True)

    return Program("Millrace", sandbox.folder, command, command, reset, sandbox.environment)


def dvc(root: Path) -> Program | None:
    """DVC without version control."""
    if shutil.which("dvc") is None:
        return None
    folder = root / "dvc"
    folder.mkdir()
    (folder / "file-0").write_text("text")
    stages = {
        f"stage-{number}": {
            "cmd": f"cp file-{number - 1} file-{number}",
            "deps": [f"file-{number - 1}"],
            "outs": [f"file-{number}"],
        }
        for number in range(1, STAGES + 1)
    }
    (folder / "dvc.yaml").write_text(json.dumps({"stages": stages}))
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}

    def reset() -> None:
        for path in (".dvc", "dvc.lock"):
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(folder / path) if path == ".dvc" else (folder / path).unlink()
        for number in range(1, STAGES + 1):
            (folder / f"file-{number}").unlink(missing_ok=True)
        subprocess.run(["dvc", "init", "--no-scm", "-q"], cwd=folder, env=environment, check=True)

    command = ["dvc", "repro", "--quiet"]
    return Program("DVC", folder, command, command, reset, environment)


def snakemake(root: Path) -> Program | None:
    """Snakemake with as many jobs at once as there are cores."""
    if shutil.which("snakemake") is None:
        return None
    folder = root / "snakemake"
    folder.mkdir()
    (folder / "file-0").write_text("text")
    rules = [f"rule all:\n    input: 'file-{STAGES}'\n"]
    for number in range(1, STAGES + 1):
        files = f"    input: 'file-{number - 1}'\n    output: 'file-{number}'\n"
        rules.append(f"rule stage_{number}:\n{files}    shell: 'cp {{input}} {{output}}'\n")
    (folder / "Snakefile").write_text("\n".join(rules))

    def reset() -> None:
        shutil.rmtree(folder / ".snakemake", ignore_errors=True)
        for number in range(1, STAGES + 1):
            (folder / f"file-{number}").unlink(missing_ok=True)

    command = ["snakemake", "--quiet", "all", "--cores", str(os.cpu_count() or 1)]
    return Program("Snakemake", folder, command, command, reset)


def metaflow(root: Path) -> Program | None:
    """Metaflow, whose ``resume`` is its way of doing again only what has to be."""
    python = os.environ.get("METAFLOW_PYTHON", sys.executable)
    if "METAFLOW_PYTHON" not in os.environ and importlib.util.find_spec("metaflow") is None:
        return None
    folder = root / "metaflow"
    folder.mkdir()
    names = ["start", *(f"stage_{number}" for number in range(2, STAGES)), "end"]
    steps = [
        f"    @step\n    def {name}(self):\n        self.text = 'text'\n"
        + (f"        self.next(self.{following})\n" if following else "")
        for name, following in zip(names, [*names[1:], ""], strict=True)
    ]
    head = "from metaflow import FlowSpec, step\n\n\nclass Chain(FlowSpec):\n"
    (folder / "chain.py").write_text(
        head + "\n".join(steps) + "\n\nif __name__ == '__main__':\n    Chain()\n"
    )
    environment = {**os.environ, "METAFLOW_HOME": str(folder / "home"), "USERNAME": "benchmark"}
    environment |= {"METAFLOW_DATASTORE_SYSROOT_LOCAL": str(folder)}
    start = [python, "chain.py", "--quiet"]

    def reset() -> None:
        shutil.rmtree(folder / ".metaflow", ignore_errors=True)

    return Program("Metaflow", folder, [*start, "run"], [*start, "resume"], reset, environment)


def _millrace() -> list[str]:
    """The installed command, or the module when only the checkout is there."""
    script = Path(sys.executable).with_name("millrace")
    return (
        [str(script)]
        if script.exists()
        else [sys.executable, "-c", "from millrace.pipelines.cli import main; main()"]
    )


def measure(programs: Sequence[Program], rounds: int, first_rounds: int) -> dict[str, dict[str, list[float]]]:
    """Seconds of every program, first and again, each round in turn."""
    times: dict[str, dict[str, list[float]]] = {
        program.name: {"first": [], "again": []} for program in programs
    }
    for _ in range(first_rounds):
        for program in programs:
            program.reset()
            times[program.name]["first"].append(program.seconds(program.command))
    for _ in range(rounds):
        for program in programs:
            times[program.name]["again"].append(program.seconds(program.again))
    return times


def machine() -> str:
    """The machine in one line."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        names = [
            line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0].partition(":")[2].strip() if names else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model}, {cores} cores, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"


def main() -> None:
    """Measures and prints; see the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds of runs with nothing to do")
    parser.add_argument("--first-rounds", type=int, default=1, help="rounds of first runs")
    parser.add_argument("--spec", type=Path, help="a pipeline that has run: time it unchanged as well")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        ours = millrace(Path(name))
        found = (ours, dvc(Path(name)), snakemake(Path(name)), metaflow(Path(name)))
        programs = [program for program in found if program is not None]
        times = measure(programs, options.rounds, options.first_rounds)
        extra = {"millrace --help": [ours.seconds([*_millrace(), "--help"]) for _ in range(options.rounds)]}
        if options.spec:
            command = [*_millrace(), "run", str(options.spec.absolute())]
            extra[f"millrace run {options.spec}"] = [ours.seconds(command) for _ in range(options.rounds)]
    medians = {
        name: {kind: statistics.median(values) for kind, values in kinds.items()}
        for name, kinds in times.items()
    }
    others = {name: statistics.median(values) for name, values in extra.items()}
    if options.json:
        print(
            json.dumps(
                {
                    "machine": machine(),
                    "stages": STAGES,
                    "median_seconds": medians,
                    "commands": others,
                    "all": times,
                }
            )
        )
        return
    print(f"{STAGES} stages that copy a small text; medians of whole processes in seconds; {machine()}\n")
    print(f"{'':<12}{'first':>8}{'ratio':>8}{'again':>8}{'ratio':>8}")
    base = medians["Millrace"]
    for program, row in medians.items():
        cells = "".join(f"{row[kind]:>8.2f}{row[kind] / base[kind]:>7.1f}x" for kind in ("first", "again"))
        print(f"{program:<12}{cells}")
    print()
    for line, seconds in ({"millrace run, unchanged": base["again"]} | others).items():
        target = TARGET_SECONDS.get(line, TARGET_SECONDS["millrace run, unchanged"])
        print(f"{line:<40}{seconds:>6.2f}  (at most {target})")


if __name__ == "__main__":
    main()
