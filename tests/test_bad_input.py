"""Bad input ends in one clear message or a counted decision, with exit code 1 or 2, no traceback and a sound store."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from tests.sandbox import CHAIN, Sandbox

from millrace.pipelines.store import maintenance
from millrace.pipelines.store.store import Store

GOOD = "".join(json.dumps({"text": f"A good document with the number {n} in it."}) + "\n" for n in range(40))


def sound(sandbox: Sandbox) -> None:
    """The store is there and nothing in it is damaged."""
    assert maintenance.verify(Store(str(sandbox.store))) == []


def said(sandbox: Sandbox, *arguments: str, code: int = 1, **options: Any) -> str:
    """The message of a failing run; the sandbox fails on a traceback."""
    done = sandbox.call("run", *arguments, **options)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def ingest(sandbox: Sandbox, paths: str = "*.jsonl*", **config: Any) -> None:
    sources = {"mine": {"type": "files", "paths": [paths]}}
    sandbox.write({"ingest": {"uses": "ingest", "with": {"sources": sources, **config}}})


MALFORMED: dict[str, tuple[str, bytes, str]] = {
    "a truncated gzip": ("bad.jsonl.gz", gzip.compress(GOOD.encode())[:-20], "truncated or corrupt gzip"),
    "no gzip at all": ("bad.jsonl.gz", GOOD.encode(), "truncated or corrupt gzip"),
    "invalid UTF-8": ("bad.jsonl", GOOD.encode() + b'{"text": "caf\xe9"}\n', "line 41: got invalid UTF-8"),
    "a line that is no object": ("bad.jsonl", GOOD.encode() + b'"text"\n', "line 41: got a JSON string, expected an object"),
    "a line that is no JSON": ("bad.jsonl", GOOD.encode() + b"{text}\n", "line 41: got no JSON"),
    "a missing column": ("bad.jsonl", GOOD.encode() + b'{"body": "x"}\n', "got columns body, expected a text column 'text'"),
    "an empty file": ("bad.jsonl", b"", "got an empty file"),
    "deep nesting": ("bad.jsonl", b"[" * 100_000, "line 1: got no JSON"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("a truncated gzip", "max_bad_fraction"),
        ("a missing column", "max_bad_fraction"),
        ("an empty file", "got no documents, expected at least one"),  # whatever the limit
    ],
)
def test_a_malformed_record_over_the_limit_fails_with_its_file_and_place(
    sandbox: Sandbox, kind: str, expected: str
) -> None:
    name, data, problem = MALFORMED[kind]
    (sandbox.folder / name).write_bytes(data)
    ingest(sandbox)
    message = said(sandbox)
    assert problem in message
    assert name in message
    assert expected in message
    sound(sandbox)


def test_malformed_records_below_the_limit_are_counted_decisions(sandbox: Sandbox) -> None:
    (sandbox.folder / "good.jsonl").write_text(GOOD)
    ingest(sandbox)
    assert sandbox.statuses() == {"ingest": "ran"}
    for number, (name, data, _) in enumerate(MALFORMED.values()):
        (sandbox.folder / f"{number}-{name}").write_bytes(data)
    assert sandbox.statuses(code=1) == {"ingest": "failed"}
    stage = sandbox.run("--set", "stages.ingest.with.max_bad_fraction=0.5")["stages"]["ingest"]
    folder = sandbox.store / "artifacts" / stage["outputs"]["decisions"][:2] / stage["outputs"]["decisions"]
    rows = [row for file in sorted(folder.glob("*.parquet")) for row in pq.read_table(file).to_pylist()]
    bad = [json.loads(row["evidence"]) for row in rows if row["rule"] == "malformed"]
    assert len(bad) == stage["metrics"]["dropped.malformed"] == len(MALFORMED)
    for number, (name, _, problem) in enumerate(MALFORMED.values()):
        (evidence,) = (one for one in bad if one["uri"] == f"{number}-{name}")
        assert problem in evidence["problem"]
        assert int(evidence["locator"]) >= 0
    sound(sandbox)


def test_a_huge_line_costs_a_decision_and_not_its_size_in_memory(sandbox: Sandbox) -> None:
    with (sandbox.folder / "bad.jsonl").open("wb") as file:
        file.write(GOOD.encode() + b'{"text": "')
        for _ in range(200):
            file.write(b"x" * 2**20)
        file.write(b'"}\n' + GOOD.encode())
    ingest(sandbox, max_bad_fraction=0.5)
    stage = sandbox.run()["stages"]["ingest"]
    assert stage["metrics"]["documents_out"] == 80
    assert stage["metrics"]["dropped.malformed"] == 1
    assert stage["peak_bytes"] < 400 * 2**20
    sound(sandbox)


def test_a_pattern_that_matches_nothing_is_one_message(sandbox: Sandbox) -> None:
    ingest(sandbox, "nowhere/*.jsonl")
    assert "got pattern 'nowhere/*.jsonl' that matches no file, expected at least one" in said(sandbox)


def test_a_corpus_that_filters_to_nothing_names_the_rule_that_did_it(sandbox: Sandbox) -> None:
    (sandbox.folder / "good.jsonl").write_text(GOOD)
    ingest(sandbox)
    stages = json.loads((sandbox.folder / "pipeline.yaml").read_text())["stages"]
    rules = {"mine": [{"rule": "gopher_quality", "min_words": 1000}]}
    stages["filter"] = {
        "uses": "filter",
        "inputs": {"documents": "ingest.documents"},
        "with": {"rules": rules},
    }
    sandbox.write(stages)
    message = said(sandbox)
    assert "40 of 40 documents dropped" in message
    assert "min_words" in message
    sound(sandbox)
    rules["mine"][0]["min_words"] = 3
    sandbox.write(stages)
    assert sandbox.statuses() == {"ingest": "reused", "filter": "ran"}


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ({"read": {"uses": "toy_source", "with": {"txt": "a"}}}, "stages.read.with.txt: unknown key 'txt'; did you mean 'text'?"),
        (
            {**CHAIN, "clean": {"uses": "toy_step", "inputs": {"documents": "sort.documents"}}},
            "stages need each other in a cycle: clean -> sort -> clean",
        ),
        (
            {**CHAIN, "gate": {"uses": "toy_gate", "inputs": {"reports": {"size": "read.documents"}}}},
            "stages.gate.inputs.reports.size: read.documents is of kind documents, expected report",
        ),
    ],
    ids=["a typo", "a cycle", "a wrong kind"],
)  # fmt: skip
def test_a_wrong_spec_ends_with_two_and_its_line_before_anything_runs(
    sandbox: Sandbox, stages: dict[str, Any], message: str
) -> None:
    sandbox.write(stages)
    text = said(sandbox, code=2)
    assert message in text
    assert text.startswith("millrace: pipeline.yaml:")
    assert not sandbox.store.exists()


def test_a_full_disk_is_one_message_and_the_next_run_with_room_goes_on(sandbox: Sandbox) -> None:
    """On a small file system of its own where namespaces are allowed."""
    if subprocess.run(
        ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True
    ).returncode:
        pytest.skip("this machine allows no mount in a namespace; the limit on files below stands in")
    sandbox.write(
        {
            "read": {"uses": "toy_source"},
            "big": {"uses": "toy_source", "with": {"text": "x" * 99_000, "parts": 40}},
        }
    )
    sandbox.store.mkdir()
    run, verify = (shlex.join(sandbox.command(*words)) for words in (("run",), ("store", "verify")))
    script = f"""mount -t tmpfs -o size=2m none .millrace
        {run}; echo code $?
        {verify}; echo code $?
        mount -o remount,size=64m .millrace
        {run}; echo code $?
        {verify}; echo code $?"""
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script],
        cwd=sandbox.folder,
        env=sandbox.environment,
        capture_output=True,
        text=True,
    )
    text = done.stdout + done.stderr
    assert "Traceback" not in text
    assert [line for line in text.splitlines() if line.startswith("code")] == [
        "code 1",
        "code 0",
        "code 0",
        "code 0",
    ]
    assert "the disk is full" in text
    assert text.count("all sound") == 2


LIMIT_FILES = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))"
# Takes from root what lets it write and look anywhere (1 and 2 of the bounding set), so that permissions count for it too.
WITHOUT_PRIVILEGES = (
    "import ctypes; [ctypes.CDLL(None).prctl(24, capability, 0, 0, 0) for capability in (1, 2)]"
)


def test_a_file_over_the_limit_is_one_message_and_the_next_run_goes_on(sandbox: Sandbox) -> None:
    sandbox.write(
        {"read": {"uses": "toy_source"}, "big": {"uses": "toy_source", "with": {"text": "x" * 99_000}}}
    )
    assert "grow beyond the largest file that is allowed" in said(sandbox, before=LIMIT_FILES)
    sound(sandbox)
    assert sandbox.statuses()["big"] == "ran"


@contextlib.contextmanager
def read_only(folder: Path) -> Any:
    folder.chmod(0o555)
    try:
        yield
    finally:
        folder.chmod(0o755)


def without_store(sandbox: Sandbox) -> Path:
    return sandbox.folder


def with_store(sandbox: Sandbox) -> Path:
    sandbox.call("run", "--until", "read")
    return sandbox.store / "runs"


@pytest.mark.parametrize("place", [without_store, with_store])
def test_a_store_without_permission_is_one_message_and_the_next_run_goes_on(
    sandbox: Sandbox, place: Callable[[Sandbox], Path]
) -> None:
    sandbox.write({name: CHAIN[name] for name in ("read", "clean")})
    with read_only(place(sandbox)):
        message = said(sandbox, before=WITHOUT_PRIVILEGES)
    assert "no permission to write or read" in message
    assert ".millrace" in message
    assert sandbox.statuses()["clean"] == "ran"
    sound(sandbox)


def test_a_read_only_store_can_be_planned_and_verified(sandbox: Sandbox) -> None:
    sandbox.run("--until", "read")
    for folder in (sandbox.store, *sandbox.store.iterdir()):
        if folder.is_dir():
            folder.chmod(0o555)
    try:
        for words in (("plan",), ("store", "verify")):
            done = sandbox.call(*words, before=WITHOUT_PRIVILEGES)
            assert done.returncode == 0, done.stderr
    finally:
        for folder in (sandbox.store, *sandbox.store.iterdir()):
            if folder.is_dir():
                folder.chmod(0o755)


def test_a_file_in_the_stores_place_is_one_message(sandbox: Sandbox) -> None:
    sandbox.store.write_text("")
    message = said(sandbox)
    assert "expected a folder" in message
    assert ".millrace" in message


def test_a_part_of_the_store_that_is_removed_is_made_again(sandbox: Sandbox) -> None:
    sandbox.write({"read": CHAIN["read"]})
    sandbox.run()
    for path, status in (("artifacts", "ran"), ("stages", "ran"), ("runs", "reused"), ("work", "reused")):
        shutil.rmtree(sandbox.store / path)
        assert sandbox.statuses() == {"read": status}
        sound(sandbox)


def test_a_damaged_artifact_is_named_and_made_again_once_it_is_removed(sandbox: Sandbox) -> None:
    sandbox.write({name: CHAIN[name] for name in ("read", "clean")})
    outputs = sandbox.run()["stages"]["clean"]["outputs"]
    folder = sandbox.store / "artifacts" / outputs["documents"][:2] / outputs["documents"]
    os.chmod(folder / "part-0.txt", 0o644)
    (folder / "part-0.txt").write_text("rot")
    done = sandbox.call("store", "verify")
    assert done.returncode == 1
    assert "part-0.txt is not what was written" in done.stdout
    shutil.rmtree(folder)
    assert sandbox.statuses() == {"read": "reused", "clean": "ran"}
    sound(sandbox)
