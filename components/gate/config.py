"""Configuration and ports of ``gate``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from millrace.components.contract import Component, ComponentError, Config, Port


class MinScore(Config):
    """The least score that a model must reach."""

    min: float = Field(description="Least score, in the unit of the benchmark's metric.")
    model: str | None = Field(
        default=None, description="Label of the model; the gate's `model` when left out."
    )


class MaxScore(Config):
    """The greatest score that a model may have, for metrics where less is better."""

    max: float = Field(description="Greatest score, in the unit of the benchmark's metric.")
    model: str | None = Field(
        default=None, description="Label of the model; the gate's `model` when left out."
    )


class GateConfig(Config):
    """The rules."""

    model: str | None = Field(
        default=None,
        description="Label of the model that is to ship; needed when the evaluation has several.",
    )
    max_contamination: float | dict[str, float] | None = Field(
        default=None,
        description="Largest share of a benchmark found in the training corpus: for all, or by benchmark.",
    )
    contamination: Literal["remaining", "found"] = Field(
        default="remaining",
        description="Share to compare: repeated by the documents that stayed for training, or by all that came in.",
    )
    min_scores: dict[str, MinScore] = Field(
        default_factory=dict, description="Benchmark -> least score, for metrics where more is better."
    )
    max_scores: dict[str, MaxScore] = Field(
        default_factory=dict, description="Benchmark -> greatest score, for bits per byte."
    )
    baseline: str | None = Field(
        default=None,
        description="Folder of an earlier package whose scores must not be lost, relative to the spec's.",
    )
    baseline_model: str | None = Field(
        default=None,
        description="Label of the model in the baseline's evaluation; the gate's own when left out.",
    )
    max_regression: float | dict[str, float] = Field(
        default=0.0, description="How much worse than the baseline a score may be: for all, or by benchmark."
    )
    regression_test: Literal["interval", "absolute"] = Field(
        default="interval", description="Count a loss only when it is beyond 95% confidence, or any loss."
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


COMPONENT = Component(
    name="gate",
    summary="Close the way to deployment unless contamination, scores and regression keep to the rules.",
    config=GateConfig,
    inputs={
        "reports": Port("report", "Reports of evaluate and decontaminate, by any label.", many=True),
    },
    outputs={"report": Port("report", "Every rule: what was got, what was wanted, the verdict.")},
    run="millrace.components.gate.stage:run",
    key_metric="rules",
    fingerprint=fingerprint,
    gate=True,
)
