"""The report's gain is the paired difference, and its page has a row for each figure and a few answers."""

from __future__ import annotations

import numpy as np
import pytest

from millrace.components.rlhf.answers import Measured
from millrace.components.rlhf.report import make_report, markdown

NAMES = ("reward", "kl", "entropy", "answer_tokens")


def measured(gain: float, texts: list[str]) -> Measured:
    """Three prompts with two answers each; the gain is the same for every prompt, the level is not."""
    level = np.asarray([[0.0, 1.0], [4.0, 5.0], [8.0, 9.0]])
    return Measured([f"prompt {row // 2}" for row in range(6)], texts, dict.fromkeys(NAMES, level + gain))


def test_a_gain_that_all_prompts_share_is_certain() -> None:
    """However far apart the prompts are; shares of distinct answers are counted over all."""
    before, after = measured(0, list("abcdef")), measured(0.5, list("aabbcc"))
    curves = {name: np.asarray([0.25, 0.5]) for name in NAMES}
    report = make_report(before, after, curves, seed=0)
    assert report["gain"]["reward"] == pytest.approx({"score": 0.5, "low": 0.5, "high": 0.5})
    assert report["before"]["reward"]["score"] == pytest.approx(4.5)
    assert report["before"]["reward"]["low"] < 3 < 6 < report["before"]["reward"]["high"]
    assert (report["before"]["distinct_share"], report["after"]["distinct_share"]) == (1.0, 0.5)
    examples = [(one["prompt"], one["before"], one["after"]) for one in report["examples"]]
    assert examples == [("prompt 0", "a", "a"), ("prompt 1", "c", "b"), ("prompt 2", "e", "c")]

    report |= {"weights": {"match": 1.0, "rule": 0.5}, "prompts": {"held_out": 3}}
    page = markdown(report)
    for line in (
        "Reward: 1 match + 0.5 rule. Answers to 3 held-out prompts, 95% intervals over prompts.",
        "| distinct_share | 1.000 | 0.500 | -0.500 |",
        "| 2 | 0.500 | 0.500 | 0.500 | 0.500 |",
        "    prompt 2",
    ):
        assert line in page.split("\n")
