"""Every file operation of the store can be the last one: killed there, or refused there by a full disk.

Each scenario is run again and again in forked processes, the n-th of which ends at its n-th file operation, until one
gets through. Python's audit events say when a file operation begins. Afterwards the store must be sound, hold each
artifact whole or not at all, and let the same thing be done again. The forks come from a process of their own, because
pytest's has threads of other tests' libraries in it.
"""

from __future__ import annotations

import errno
import itertools
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

OPERATIONS = ("open", "os.", "shutil.", "fcntl.flock")
MOST_STEPS = 400


def publish(root: Path) -> None:
    """One artifact in three files and the record that points at it."""
    from millrace.pipelines.store.store import Store

    store = Store(str(root))
    folder = store.work("k") / "outputs"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "deep").mkdir(parents=True)
    for name in ("a", "b", "deep/c"):
        (folder / name).write_text(name)
    digest = store.publish(folder, "documents", {"stage": "s", "port": "p", "run": "r"})
    write_record(store, "k", digest)


def publish_remotely(root: Path) -> None:
    """The same on fsspec, which has no rename."""
    from millrace.pipelines.store.backends import RemoteBackend
    from millrace.pipelines.store.store import Store

    store = Store(str(root))
    store.backend = RemoteBackend(f"file://{root}", root / "cache")
    folder = root / "made"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in ("a", "b"):
        (folder / name).write_text(name)
    digest = store.publish(folder, "documents", {"stage": "s", "port": "p", "run": "r"})
    write_record(store, "k", digest)


def stage(root: Path) -> None:
    """A whole stage, from looking in the store to the record."""
    from millrace.pipelines.stages.execute import execute
    from millrace.pipelines.stages.request import Request
    from millrace.pipelines.store.canonical import stage_key

    common: dict[str, Any] = {
        "store": str(root),
        "run": "r",
        "pipeline": "p",
        "inputs": {},
        "code": "c",
        "modules": {},
    }
    config = {"text": "t", "file": None, "parts": 2, "workers": 1}
    key = stage_key(**identity_of("toy_source", config))
    request = Request(
        stage="s", component="toy_source", key=key, config=config, semantic=config, seed=0, **common
    )
    execute(request, lambda event: None, logging.getLogger("s"))


def prepare_collection(root: Path) -> None:
    """Two runs of one pipeline, of two artifacts each, one of them shared."""
    from millrace.pipelines.store.store import Store

    store = Store(str(root))
    for run, names in (("20250101-000000-a", ("x", "y")), ("20250102-000000-b", ("y", "z"))):
        stages = {}
        for name in names:
            folder = store.work(name) / "out"
            folder.mkdir(parents=True)
            (folder / "file").write_text(name)
            digest = store.publish(folder, "documents", {"stage": name, "port": "p", "run": run})
            stages[name] = {"status": "ran", "key": write_record(store, name, digest)}
        store.write_run(run, "run.json", {"id": run, "pipeline": "p", "status": "done", "stages": stages})


def collect(root: Path) -> None:
    """Frees what the newest run does not reach, also what a collection that was killed had left without a record."""
    from millrace.pipelines.store import maintenance
    from millrace.pipelines.store.store import Store

    maintenance.collect(Store(str(root)), 1, grace_seconds=0)


def identity_of(component: str, config: dict[str, Any]) -> dict[str, Any]:
    """Everything that a stage key covers."""
    return {
        "component": component,
        "config": config,
        "inputs": {},
        "seed": 0,
        "fingerprint": None,
        "code": "c",
        "lineage": None,
    }


def write_record(store: Any, name: str, digest: str) -> str:
    """Writes the record of a stage that made one artifact, and returns its key."""
    from millrace.pipelines.store.canonical import stage_key
    from millrace.pipelines.store.record import StageRecord

    facts = identity_of("c", {"name": name})
    key = stage_key(**facts)
    facts |= {"modules": {}, "metrics": {}, "versions": {}, "run": "r", "started": 0.0}
    outputs = {"documents": {"digest": digest, "kind": "documents"}}
    store.write_record(StageRecord(key=key, stage="s", outputs=outputs, seconds=0.0, peak_bytes=0, **facts))
    return key


SCENARIOS: dict[str, tuple[Callable[[Path], None] | None, Callable[[Path], None]]] = {
    "publish": (None, publish),
    "publish_remotely": (None, publish_remotely),
    "stage": (None, stage),
    "collect": (prepare_collection, collect),
}


def end_at(step: int, how: str) -> list[str]:
    """From now on, the file operation with this number is the last; the list gets its name when it comes."""
    counted = itertools.count(1)
    came: list[str] = []

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event.startswith(OPERATIONS) and next(counted) == step:
            came.append(event)
            if how == "kill":
                os._exit(9)
            raise OSError(errno.ENOSPC, "No space left on device", str(arguments[0] if arguments else ""))

    os.fsync = lambda fd: hook("os.fsync", (fd,))
    sys.addaudithook(hook)
    return came


def attempt(scenario: Callable[[Path], None], root: Path, step: int, how: str) -> bool:
    """Runs a scenario in a fork that ends at a step; returns whether it was over before that."""
    process = os.fork()
    if process == 0:
        came = end_at(step, how)
        try:
            scenario(root)
        except OSError as error:
            os._exit(1 if error.errno == errno.ENOSPC else 2)
        except BaseException as error:
            sys.excepthook(type(error), error, error.__traceback__)
            os._exit(2)
        os._exit(4 if came else 0)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    assert code in (0, 1, 4, 9), f"step {step} ended with {code}"
    return code == 0


def check(root: Path, name: str, step: int) -> None:
    """The store is sound, whatever happened."""
    from millrace.pipelines.store import maintenance
    from millrace.pipelines.store.store import Store

    store = Store(str(root))
    if name != "publish_remotely":  # there an upload may have been cut off: no manifest, no artifact
        assert maintenance.verify(store) == [], f"step {step}: {maintenance.verify(store)}"
    for key in store.stage_keys():
        record = store.record(key)
        assert record is not None
        assert store.reusable(key) is not None, f"step {step}: the record of {key[:4]} points at nothing"
    for digest in store.artifacts():
        manifest = store.manifest(digest)
        assert manifest is not None
        assert all((store.folder(digest) / file).is_file() for file in manifest["files"]), f"step {step}"


def main(name: str, how: str, base: Path) -> None:
    """Runs one scenario to its end at every step; see the module."""
    from tests.sandbox import TOYS

    from millrace import components
    from millrace.components import registry

    components.__path__ = [*components.__path__, str(TOYS)]
    registry.COMPONENTS["toy_source"] = "toy_source"
    os.fsync = lambda fd: (
        None
    )  # a kill loses nothing that was written; waiting for disks took most of the time
    before, scenario = SCENARIOS[name]
    reference = base / "undisturbed"
    if before:
        before(reference)
    scenario(reference)
    for step in range(1, MOST_STEPS):
        root = base / str(step)
        if before:
            before(root)
        through = attempt(scenario, root, step, how)
        check(root, name, step)
        scenario(root)
        check(root, name, step)
        state = [
            {
                file.relative_to(place).as_posix()
                for folder in ("artifacts", "stages", "runs")
                for file in place.glob(f"{folder}/**/*")
                if file.is_file() and "/." not in file.as_posix().removeprefix(str(place))
            }
            for place in (root, reference)
        ]
        assert state[0] == state[1], f"step {step}: {state[0] ^ state[1]}"
        if through:
            print(json.dumps({"steps": step}))
            return
    raise AssertionError(f"{name} did not get through in {MOST_STEPS} steps")


@pytest.mark.parametrize("how", ["kill", "full disk"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_that_ends_at_any_step_leaves_the_store_sound_and_can_be_done_again(
    tmp_path: Path, name: str, how: str
) -> None:
    command = [sys.executable, "-m", "tests.test_faults", name, how, str(tmp_path)]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)["steps"] > 10


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
