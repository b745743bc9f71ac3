"""Goodput is useful time over elapsed time, by a clock that the test winds."""

from __future__ import annotations

from millrace.model.goodput import Goodput


def test_lost_and_rewound_time_is_not_useful() -> None:
    """Of ten seconds one is lost to compiling, and two of steps that were done again."""
    now = [0.0]
    goodput = Goodput(lambda: now[0])
    with goodput.lost("compiling"):
        now[0] = 1.0
    now[0] = 5.0
    goodput.saved()
    now[0] = 7.0
    goodput.rewound()
    now[0] = 10.0
    assert goodput.share() == 0.7
    assert goodput.summary() == "goodput 70.0%: 7.0 s of steps, 1.0 s compiling, 2.0 s rewound steps"
