"""``gate``: rules over the reports decide whether a model may ship.

Every rule is evaluated, also after the first that fails, because whoever has to mend a closed gate needs the whole
list. A rule that names a benchmark or a model that no report holds is a mistake in the spec and never a pass; so is a
gate without any rule. A figure that is not a number closes the gate.

Against an earlier package a score counts as worse only when the difference exceeds ``max_regression`` with 95%
confidence (``regression_test: interval``), so that noise of a few hundred examples does not block a release, or
plainly (``absolute``).

A closed gate ends the run with exit code 3; nothing after it runs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from millrace.components.contract import (
    Component,
    ComponentError,
    Config,
    Context,
    GateClosed,
    Inputs,
    Port,
)


class MinScore(Config):
    """The least score that a model must reach."""

    min: float = Field(description="Least score, in the unit of the benchmark's metric.")
    model: str | None = Field(None, description="Label of the model; the gate's `model` when left out.")


class MaxScore(Config):
    """The greatest score that a model may have, for metrics where less is better."""

    max: float = Field(description="Greatest score, in the unit of the benchmark's metric.")
    model: str | None = Field(None, description="Label of the model; the gate's `model` when left out.")


class GateConfig(Config):
    """The rules."""

    model: str | None = Field(
        None, description="Label of the model that is to ship; needed when the evaluation has several."
    )
    max_contamination: float | dict[str, float] | None = Field(
        None,
        description="Largest share of a benchmark found in the training corpus: for all, or by benchmark.",
    )
    contamination: Literal["remaining", "found"] = Field(
        "remaining",
        description="Which share counts: repeated by the documents that stayed for training, or by all that came in.",
    )
    min_scores: dict[str, MinScore] = Field(
        default_factory=dict, description="Benchmark -> least score, for metrics where more is better."
    )
    max_scores: dict[str, MaxScore] = Field(
        default_factory=dict, description="Benchmark -> greatest score, for bits per byte."
    )
    baseline: str | None = Field(
        None,
        description="Folder of an earlier package whose scores must not be lost, relative to the spec's.",
    )
    baseline_model: str | None = Field(
        None, description="Label of the model in the baseline's evaluation; the gate's own when left out."
    )
    max_regression: float | dict[str, float] = Field(
        0.0, description="How much worse than the baseline a score may be: for all, or by benchmark."
    )
    regression_test: Literal["interval", "absolute"] = Field(
        "interval", description="Count a loss only when it is beyond 95% confidence, or any loss."
    )

    @model_validator(mode="after")
    def _has_rules(self) -> GateConfig:
        if self.max_contamination is None and not (self.min_scores or self.max_scores or self.baseline):
            raise ValueError(
                "a gate needs at least one rule: max_contamination, min_scores, max_scores or baseline"
            )
        shares = self.max_contamination
        for share in shares.values() if isinstance(shares, dict) else [shares or 0.0]:
            if not 0 <= share <= 1:
                raise ValueError(f"max_contamination is {share}, expected a share between 0 and 1")
        losses = self.max_regression
        for loss in losses.values() if isinstance(losses, dict) else [losses]:
            if loss < 0:
                raise ValueError(f"max_regression is {loss}, expected 0 or more")
        return self


def fingerprint(config: GateConfig) -> dict[str, Any] | None:
    """The identity of the baseline package: the digest of its manifest, which names every other file's digest."""
    import hashlib

    if config.baseline is None:
        return None
    manifest = baseline_file(config.baseline, "package.json")
    return {"baseline": hashlib.sha256(manifest).hexdigest()}


def baseline_file(folder: str, name: str) -> bytes:
    """A file of the baseline package.

    Raises:
        ComponentError: It is not there.
    """
    path = Path(folder).expanduser() / name
    try:
        return path.read_bytes()
    except OSError as error:
        raise ComponentError(
            f"gate: cannot read {name} of the baseline package {folder} ({error.strerror}); name the folder "
            "of an exported package, or leave baseline out"
        ) from None


def run(context: Context, config: GateConfig, inputs: Inputs) -> None:
    """Evaluates every rule, writes the table, and raises when one does not hold."""
    from .rules import Evidence, evaluate, table

    reports = {
        label: json.loads((artifact.path / "report.json").read_text(encoding="utf-8"))
        for label, artifact in inputs.many("reports").items()
    }
    evidence = Evidence.of_reports(reports, config.contamination)
    baseline = None
    if config.baseline is not None:
        baseline = Evidence.of_reports(
            {"baseline": json.loads(baseline_file(config.baseline, "evaluation.json"))}
        )
    verdicts = evaluate(config, evidence, baseline)
    failed = [verdict for verdict in verdicts if not verdict.holds]
    report = {
        "verdict": "closed" if failed else "open",
        "baseline": (fingerprint(config) or {}).get("baseline"),
        "rules": [verdict.as_json() for verdict in verdicts],
    }
    lines = table(verdicts)
    folder = context.output("report")
    (folder / "report.json").write_text(
        json.dumps(report, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    (folder / "report.md").write_text(
        "\n".join([f"# Gate: {report['verdict']}", "", *lines]) + "\n", encoding="utf-8"
    )
    for line in lines:
        context.log.info("%s", line)
    context.metric("rules", len(verdicts))
    context.metric("rules_failed", len(failed))
    if failed:
        listed = "".join(f"\n  {verdict.sentence()}" for verdict in failed)
        raise GateClosed(f"the gate is closed: {len(failed)} of {len(verdicts)} rules do not hold{listed}")


COMPONENT = Component(
    name="gate",
    summary="Close the way to deployment unless contamination, scores and regression keep to the rules.",
    config=GateConfig,
    inputs={
        "reports": Port("report", "Reports of evaluate and decontaminate, by any label.", many=True),
    },
    outputs={"report": Port("report", "Every rule: what was got, what was wanted, the verdict.")},
    run=run,
    key_metric="rules",
    fingerprint=fingerprint,
    gate=True,
)
