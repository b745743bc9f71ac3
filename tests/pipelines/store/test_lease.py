"""Runs and collections of several machines on one object store keep out of each other's way."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from millrace.pipelines.store import lease, maintenance
from millrace.pipelines.store.backends import RemoteBackend
from millrace.pipelines.store.errors import StoreError
from millrace.pipelines.store.store import Store


def machine(tmp_path: Path, name: str) -> Store:
    """The object store as one machine sees it, with a local folder of its own."""
    store = Store(str(tmp_path / name))
    store.backend, store.is_local = RemoteBackend(f"file://{tmp_path}/remote", store.scratch), False
    return store


def age(store: Store, seconds: float) -> None:
    """Makes every lease this much older."""
    folder = Path(store.backend.uri.removeprefix("file://")) / lease.FOLDER
    for path in folder.iterdir():
        written = path.stat().st_mtime - seconds
        os.utime(path, (written, written))


def test_a_lease_is_seen_elsewhere_while_it_is_held(tmp_path: Path) -> None:
    here, there = (machine(tmp_path, name).backend for name in ("here", "there"))
    with lease.held(here, "run"), lease.held(here, "run"):
        assert lease.holders(there, "run") == [f"process {os.getpid()} of {os.uname().nodename}"] * 2
        assert lease.holders(there, "collection") == []
    assert lease.holders(there, "run") == []
    assert there.names(lease.FOLDER) == []


def test_a_run_of_another_machine_keeps_a_collection_out(tmp_path: Path) -> None:
    """And the machine's own lock has nothing to do with it."""
    here, there = (machine(tmp_path, name) for name in ("here", "there"))
    with here.in_use(), pytest.raises(StoreError, match=rf"process {os.getpid()} of .* is using the store"):
        maintenance.collect(there, 1, grace_seconds=0)
    maintenance.collect(there, 1, grace_seconds=0)


def test_the_lease_of_a_killed_run_expires(tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom tests.pipelines.store.test_lease import machine\n"
        "with machine(Path(sys.argv[1]), 'killed').in_use():\n    os.kill(os.getpid(), 9)\n"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=root)
    assert done.returncode == -9
    there = machine(tmp_path, "there")
    with pytest.raises(StoreError, match="its lease expires within 5 minutes"):
        maintenance.collect(there, 1)
    age(there, lease.EXPIRY_SECONDS + 1)
    maintenance.collect(there, 1)
    assert there.backend.names(lease.FOLDER) == []


def test_a_long_run_renews_its_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even when the store could not be reached once."""
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.01)
    backend = machine(tmp_path, "here").backend
    real, failed = backend.write, threading.Event()

    def unreliable(path: str, data: bytes) -> None:
        is_renewal = threading.current_thread() is not threading.main_thread()
        if is_renewal and path.startswith(lease.FOLDER) and not failed.is_set():
            failed.set()
            raise ConnectionError("reset by peer")
        real(path, data)

    monkeypatch.setattr(backend, "write", unreliable)
    with lease.held(backend, "run"):
        (name,) = backend.names(lease.FOLDER)
        first = backend.modified(f"{lease.FOLDER}/{name}")
        assert first is not None
        deadline = time.monotonic() + 20
        while (backend.modified(f"{lease.FOLDER}/{name}") or 0) <= first and time.monotonic() < deadline:
            time.sleep(0.01)
        assert (backend.modified(f"{lease.FOLDER}/{name}") or 0) > first
    assert failed.is_set()


def test_a_run_waits_for_a_collection_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lease, "LOOK_SECONDS", 0.01)
    here, there = (machine(tmp_path, name) for name in ("here", "there"))
    began = threading.Event()

    def run() -> None:
        with here.in_use():
            began.set()

    thread = threading.Thread(target=run)
    with caplog.at_level(logging.WARNING), lease.held(there.backend, "collection"):
        thread.start()
        deadline = time.monotonic() + 20
        while "waiting for `millrace store gc`" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not began.is_set()
    thread.join(20)
    assert began.is_set()
    assert caplog.text.count("waiting for") == 1


def test_a_lease_that_cannot_be_read_counts(tmp_path: Path) -> None:
    backend = machine(tmp_path, "here").backend
    backend.write(f"{lease.FOLDER}/run-1.json", b"")
    assert lease.holders(backend, "run") == ["an unknown process"]


def test_a_lease_that_cannot_be_given_up_does_not_hide_the_outcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The store went down while the run worked: the run's own error is what counts."""
    backend = machine(tmp_path, "here").backend

    def refused(path: str) -> None:
        raise StoreError("the store does not answer")

    monkeypatch.setattr(backend, "remove", refused)
    with pytest.raises(RuntimeError, match="the run's own"), lease.held(backend, "run"):
        raise RuntimeError("the run's own")
    assert "cannot give up the lease" in caplog.text
