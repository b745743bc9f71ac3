"""A pipeline against a server of S3's protocol, behind a proxy that fails in every way that servers do."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.object_store import FaultyProxy, environment, s3_server
from tests.sandbox import LINE, Sandbox

STORE = "s3://bucket/runs"


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    """A server with one bucket."""
    with s3_server("bucket") as port:
        yield port


@pytest.fixture
def proxy(server: int) -> Iterator[FaultyProxy]:
    """A proxy before the server."""
    made = FaultyProxy(server)
    yield made
    made.close()


@pytest.fixture
def sandbox(tmp_path: Path, proxy: FaultyProxy) -> Sandbox:
    """Three toy stages whose store is a folder of its own in the bucket."""
    made = Sandbox(tmp_path, LINE)
    made.environment |= environment(proxy.url)
    made.write(LINE, store=f"{STORE}/{tmp_path.name}", store_timeout="4s")
    return made


def refused(done: subprocess.CompletedProcess[str], message: str) -> None:
    """The command failed with one short message and no traceback."""
    text = done.stdout + done.stderr
    assert done.returncode == 1, text
    assert re.search(message, text), text
    assert len(text.splitlines()) < 12, text


def test_a_run_on_a_bucket_is_reused_from_another_machine(sandbox: Sandbox, tmp_path: Path) -> None:
    """Which shares nothing with the first but the bucket; its gc takes what no run names."""
    assert set(sandbox.statuses().values()) == {"ran"}
    sandbox.environment["XDG_CACHE_HOME"] = str(tmp_path / "elsewhere")
    assert set(sandbox.statuses().values()) == {"reused"}
    sandbox.verify()
    freed = sandbox.json("store", "gc", "--grace-minutes", "0")
    assert freed["artifacts"] == freed["records"] == []


@pytest.mark.slow
def test_a_server_that_answers_every_second_request_with_500_is_used_all_the_same(
    sandbox: Sandbox, proxy: FaultyProxy
) -> None:
    proxy.mode = "half"
    assert set(sandbox.statuses("--set", "store_timeout=60s").values()) == {"ran"}
    proxy.mode = "sound"
    sandbox.verify()


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("denied", "refuses access .*check that the credentials"),
        pytest.param("silent", "does not answer.*tried for", marks=pytest.mark.slow),
        pytest.param("reset", "does not answer.*tried for", marks=pytest.mark.slow),
    ],
)
def test_a_server_that_does_not_serve_is_said_in_bounded_time(
    sandbox: Sandbox, proxy: FaultyProxy, mode: str, message: str
) -> None:
    proxy.mode = mode
    start = time.monotonic()
    for command in (("run",), ("plan",), ("runs",)):
        refused(sandbox.call(*command), message)
    assert time.monotonic() - start < 90  # three times 4 s and a request, on a busy machine


def test_missing_credentials_are_said(sandbox: Sandbox) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        del sandbox.environment[name]
    refused(sandbox.call("run"), "got no credentials for the store s3://.*AWS_ACCESS_KEY_ID")


def test_a_bucket_that_does_not_exist_is_refused_and_not_made(sandbox: Sandbox) -> None:
    for _ in range(2):
        refused(
            sandbox.call("run", "--store", "s3://bukcet/runs"),
            "there is no such bucket|is there such a bucket",
        )


@pytest.mark.slow
def test_a_server_that_goes_down_midway_ends_the_run_and_the_next_goes_on(
    sandbox: Sandbox, proxy: FaultyProxy
) -> None:
    """At several moments of one run after the other; nothing is damaged, and finished stages are kept."""
    for requests in (12, 25, 40, 60):
        proxy.switch_at = (proxy.requests + requests, "reset")
        done = sandbox.call("run")
        proxy.switch_at = None
        if proxy.mode == "sound":
            assert done.returncode == 0
            continue
        refused(done, "does not answer")
        proxy.mode = "sound"
    assert set(sandbox.statuses().values()) <= {"ran", "reused"}
    sandbox.verify()
