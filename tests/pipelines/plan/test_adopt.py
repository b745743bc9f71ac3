"""Adopting: a person accepts existing outputs for changed code, and for nothing else."""

from __future__ import annotations

import json

import pytest
from tests.sandbox import LINE, Sandbox


@pytest.fixture
def ran(sandbox: Sandbox) -> Sandbox:
    sandbox.write(LINE)
    sandbox.run()
    return sandbox


def test_changed_code_is_adopted_and_the_record_says_so(ran: Sandbox) -> None:
    before = ran.run()["stages"]
    ran.edit("toy_step", "return text + more", "return str(text) + more")
    assert ran.plan()["clean"]["action"] == "run"
    adopted = ran.json("adopt", "clean")
    assert adopted["adopted_from"] == before["clean"]["key"]
    done = ran.run()["stages"]
    assert [stage["status"] for stage in done.values()] == ["reused", "reused", "ran"]
    assert done["clean"]["outputs"] == before["clean"]["outputs"]
    record = json.loads((ran.store / "stages" / f"{adopted['key']}.json").read_text())
    assert record["adopted_from"] == before["clean"]["key"]
    assert (
        record["code"]
        != json.loads((ran.store / "stages" / f"{before['clean']['key']}.json").read_text())["code"]
    )


def test_a_plan_compares_with_the_adopted_record_and_not_with_the_one_before_it(ran: Sandbox) -> None:
    ran.edit("toy_step", "return text + more", "return str(text) + more")
    ran.json("adopt", "clean")
    ran.run()
    ran.edit("toy_step", "fail(config.fails)", "fail(str(config.fails))")
    assert ran.plan()["clean"]["reasons"] == ["code components/toy_step.py: function run changed"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("clean",), "clean is reused as it is: there is nothing to adopt"),
        (("claen",), "the spec has no stage 'claen'; did you mean 'clean'?"),
        (("clean", "--set", "stages.clean.with.add=x"), "clean differs in more than its code (config add '+' -> 'x')"),
        (("sort", "--set", "stages.clean.with.add=x"), "sort: documents comes from clean, which runs; adopt or run that"),
        (("clean", "--store", "empty"), "clean: documents comes from read, which runs; adopt or run that one first"),
        (("read", "--store", "empty"), "read has no earlier outputs in this store"),
    ],
)  # fmt: skip
def test_what_cannot_be_adopted_says_why(ran: Sandbox, arguments: tuple[str, ...], message: str) -> None:
    done = ran.call("adopt", *arguments)
    assert done.returncode == 1
    assert message in done.stderr


def test_outputs_that_are_gone_cannot_be_adopted(ran: Sandbox) -> None:
    (digest,) = ran.run()["stages"]["sort"]["outputs"].values()
    ran.edit("toy_step", "return text + more", "return str(text) + more")
    ran.json("adopt", "clean")
    for file in (ran.store / "artifacts" / digest[:2] / digest).iterdir():
        file.unlink()
    assert "sort has no earlier outputs in this store" in ran.call("adopt", "sort").stderr
