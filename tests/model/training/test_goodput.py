"""Goodput is useful time over elapsed time, by a clock that the test winds."""

from __future__ import annotations

from pathlib import Path

from millrace.model.training.goodput import Goodput


def test_lost_and_rewound_time_is_not_useful() -> None:
    """Of eleven seconds one is lost to starting, one to compiling, and two to steps that were done again.

    Reading batches is a part of the steps' time and not lost.
    """
    now = [0.0]
    goodput = Goodput(lambda: now[0])
    now[0] = 1.0
    goodput.resumed(0.0)
    with goodput.lost("compiling"):
        now[0] = 2.0
    with goodput.reading():
        now[0] = 2.5
    now[0] = 6.0
    saved = goodput.useful_seconds()
    now[0] = 8.0
    goodput.resumed(saved, "rewound steps")
    now[0] = 11.0
    assert goodput.share() == 7 / 11
    assert goodput.summary() == (
        "goodput 63.6%: 7.0 s of steps (0.5 s reading), 1.0 s compiling, 2.0 s rewound steps, 1.0 s starting"
    )


def test_an_attempt_after_a_failure_counts_from_the_first_start() -> None:
    """Four useful seconds were saved before a failure, and two follow: of twenty, fourteen are lost."""
    now = [18.0]
    goodput = Goodput(lambda: now[0], start=0.0)
    goodput.resumed(4.0)
    now[0] = 20.0
    assert goodput.summary() == "goodput 30.0%: 6.0 s of steps (0.0 s reading), 14.0 s earlier attempts"


def test_the_first_start_is_kept_in_a_file(tmp_path: Path) -> None:
    """A second stopwatch over the same file was started when the first was."""
    Goodput.since(tmp_path / "started")
    (tmp_path / "started").write_text(repr(float((tmp_path / "started").read_text()) - 1000))
    later = Goodput.since(tmp_path / "started")
    later.resumed(0.0)
    assert "earlier attempts" in later.summary()
    assert later.useful_seconds() < 500
