"""The gate: what opens it, what closes it, and that a mistaken rule never passes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from millrace.components.contract import ComponentError, GateClosed


def score(value: float, spread: float = 0.05, **more: Any) -> dict[str, Any]:
    """An entry of an evaluation report."""
    entry = {"score": value, "low": value - spread, "high": value + spread, "metric": "accuracy_per_byte"}
    return {**entry, "higher_is_better": True, "contamination": None, "type": "multiple_choice", **more}


def bits(value: float) -> dict[str, Any]:
    """An entry for bits per byte."""
    return score(value, metric="bits_per_byte", higher_is_better=False, type="text")


@pytest.fixture
def reports(tmp_path: Path) -> dict[str, Path]:
    """An evaluation of two models and a contamination report."""
    models = {
        "sft": {"benchmarks": {"docs": score(0.5), "held": bits(2.0)}},
        "rlhf": {"benchmarks": {"docs": score(0.4), "held": bits(2.2)}},
    }
    contamination = {"benchmarks": {"docs": {"examples": 100, "contaminated": 3, "share": 0.03}}}
    return {
        "evaluation": write(tmp_path / "evaluation", "report.json", {"models": models}),
        "contamination": write(tmp_path / "contamination", "report.json", contamination),
    }


def write(folder: Path, name: str, value: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(value))
    return folder


def package(folder: Path, **entries: dict[str, Any]) -> str:
    """An earlier package as far as the gate reads it."""
    write(folder, "package.json", {"name": "earlier"})
    return str(write(folder, "evaluation.json", {"models": {"rlhf": {"benchmarks": entries}}}))


OPEN = {
    "model": "rlhf",
    "max_contamination": 0.05,
    "min_scores": {"docs": {"min": 0.3}},
    "max_scores": {"held": {"max": 2.5}},
}


def test_a_gate_whose_rules_hold_is_open_and_says_why(run_component: Any, reports: dict[str, Path]) -> None:
    """One row per rule in both reports."""
    result = run_component("gate", OPEN, {"reports": reports})
    report = json.loads((result.outputs["report"] / "report.json").read_text())
    assert report["verdict"] == "open"
    assert [rule["rule"] for rule in report["rules"]] == ["max_contamination", "min_scores", "max_scores"]
    assert {rule["verdict"] for rule in report["rules"]} == {"pass"}
    assert "| min_scores | docs of rlhf | 0.4000" in (result.outputs["report"] / "report.md").read_text()


def test_a_closed_gate_lists_every_rule_that_fails(run_component: Any, reports: dict[str, Path]) -> None:
    """All rules are judged, and the message holds got and wanted of each failure only."""
    rules = {
        "model": "rlhf",
        "max_contamination": {"docs": 0.01},
        "min_scores": {"docs": {"min": 0.45}},
        "max_scores": {"held": {"max": 2.1, "model": "sft"}},
    }
    with pytest.raises(GateClosed) as closed:
        run_component("gate", rules, {"reports": reports})
    message = str(closed.value)
    assert "2 of 3 rules" in message
    assert "max_contamination, docs: got 3.00%, wanted at most 1.00%" in message
    assert "min_scores, docs of rlhf: got 0.4000 (0.3500 to 0.4500), wanted at least 0.45" in message
    assert "held" not in message


@pytest.mark.parametrize(
    ("old", "config", "is_open"),
    [
        ({"docs": score(0.45), "held": bits(2.2)}, {}, True),  # worse, within both intervals
        ({"docs": score(0.45)}, {"regression_test": "absolute"}, False),
        ({"docs": score(0.45)}, {"regression_test": "absolute", "max_regression": 0.06}, True),
        ({"docs": score(0.60)}, {}, False),
        ({"docs": score(0.60)}, {"max_regression": {"docs": 0.25}}, True),
        ({"held": bits(2.0)}, {}, False),  # fewer bits are better
        ({"held": bits(2.4)}, {"regression_test": "absolute"}, True),
        ({"gone": score(0.1)}, {}, False),
        ({"docs": score(0.4, metric="exact_match")}, {}, False),
    ],
)
def test_regression_against_an_earlier_package(
    run_component: Any,
    reports: dict[str, Path],
    tmp_path: Path,
    old: dict[str, Any],
    config: dict[str, Any],
    is_open: bool,
) -> None:
    """Losses count beyond confidence or plainly, in the metric's own direction; nothing may vanish."""
    rules = {"model": "rlhf", "baseline": package(tmp_path / "earlier", **old), **config}
    if is_open:
        run_component("gate", rules, {"reports": reports})
    else:
        with pytest.raises(GateClosed, match="max_regression"):
            run_component("gate", rules, {"reports": reports})


def test_contamination_counts_what_stayed_for_training_or_what_was_found(
    run_component: Any, tmp_path: Path
) -> None:
    """Decontamination opens the gate, unless the rule is about the corpus as it came."""
    found = {"docs": {"share": 0.4, "remaining_share": 0.01}}
    reports = {"contamination": write(tmp_path / "report", "report.json", {"benchmarks": found})}
    run_component("gate", {"max_contamination": 0.05}, {"reports": reports})
    with pytest.raises(GateClosed, match=r"docs: got 40\.00%"):
        run_component("gate", {"max_contamination": 0.05, "contamination": "found"}, {"reports": reports})


def test_a_figure_that_is_no_number_closes_the_gate(run_component: Any, tmp_path: Path) -> None:
    """NaN compares with nothing, so no rule over it holds."""
    models = {"rlhf": {"benchmarks": {"docs": score(math.nan)}}}
    report = write(tmp_path / "nan", "report.json", {"models": models})
    with pytest.raises(GateClosed):
        run_component("gate", {"min_scores": {"docs": {"min": 0.0}}}, {"reports": {"evaluation": report}})
    rules = {"baseline": package(tmp_path / "earlier", docs=score(0.1))}
    with pytest.raises(GateClosed):
        run_component("gate", rules, {"reports": {"evaluation": report}})


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"model": "rlfh", "min_scores": {"docs": {"min": 0}}}, "'rlfh'.*did you mean 'rlhf'"),
        ({"model": "rlhf", "min_scores": {"dosc": {"min": 0}}}, "'dosc'.*did you mean 'docs'"),
        ({"max_contamination": {"dcos": 0.1}}, "'dcos'.*did you mean 'docs'"),
        ({"min_scores": {"docs": {"min": 0}}}, "names no model and the evaluation has rlhf, sft"),
        ({"model": "rlhf", "min_scores": {"held": {"min": 1}}}, "less bits_per_byte is better.*max_scores"),
        ({"model": "rlhf", "baseline": "/nowhere/package"}, "of the baseline package /nowhere/package"),
    ],
)
def test_a_rule_about_nothing_is_an_error_not_a_pass(
    run_component: Any, reports: dict[str, Path], rules: dict[str, Any], message: str
) -> None:
    """A misspelt name is said with the closest one that exists."""
    with pytest.raises(ComponentError, match=message) as raised:
        run_component("gate", rules, {"reports": reports})
    assert not isinstance(raised.value, GateClosed)


def test_a_rule_without_its_report_is_an_error(run_component: Any, reports: dict[str, Path]) -> None:
    """Leaving a report out cannot open the gate."""
    with pytest.raises(ComponentError, match="connect the report of evaluate"):
        run_component("gate", OPEN, {"reports": {"contamination": reports["contamination"]}})
    with pytest.raises(ComponentError, match="connect the report of decontaminate"):
        run_component("gate", OPEN, {"reports": {"evaluation": reports["evaluation"]}})
