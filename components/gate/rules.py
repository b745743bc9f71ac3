"""The gate's rules as plain functions: each compares a measured value with a bound.

References:
    Newcombe 1998, "Interval estimation for the difference between independent proportions", method 10: the bounds of
    a difference from the bounds of its two terms. It serves here for any score with an interval, not only shares.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from millrace.components.contract import ComponentError
from millrace.components.reports.markdown import table

from .config import GateConfig


@dataclass(frozen=True)
class Evidence:
    """The figures of the reports.

    Attributes:
        scores: Model label -> benchmark -> entry of the evaluation report (score, low, high, higher_is_better ...).
        contamination: Benchmark -> share of it found in the training corpus.
    """

    scores: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    contamination: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of_reports(cls, reports: Mapping[str, Mapping[str, Any]], contamination: str = "found") -> Evidence:
        """Gathers the evidence of reports of evaluate (``models``) and decontaminate (``benchmarks``).

        Args:
            reports: Label -> ``report.json``.
            contamination: ``remaining`` takes what documents repeat that stayed for training, where a report has
                it; ``found`` what was there before, which is never less.

        Raises:
            ComponentError: A report is neither, or two disagree on who measured a model.
        """
        scores: dict[str, Mapping[str, Mapping[str, Any]]] = {}
        shares: dict[str, float] = {}
        seen: dict[str, float] = {}
        for label, report in reports.items():
            if isinstance(report.get("models"), dict):
                for model, result in report["models"].items():
                    if model in scores:
                        raise ComponentError(
                            f"gate: two reports hold the model {model!r}; give one evaluation report"
                        )
                    scores[model] = result["benchmarks"]
                    for name, entry in result["benchmarks"].items():
                        if entry.get("contamination") is not None:
                            seen[name] = float(entry["contamination"])
            elif isinstance(report.get("benchmarks"), dict):
                for name, found in report["benchmarks"].items():
                    share = found.get("remaining_share") if contamination == "remaining" else None
                    shares[name] = float(found["share"] if share is None else share)
            else:
                raise ComponentError(
                    f"gate: report {label!r} holds neither models nor benchmarks; connect the reports of "
                    "evaluate and decontaminate"
                )
        return cls(scores, {**seen, **shares})

    def entry(self, model: str, benchmark: str) -> Mapping[str, Any]:
        """A model's entry for a benchmark.

        Raises:
            ComponentError: There is none; names the closest.
        """
        entries = self.scores[_known(model, self.scores, "model")]
        return entries[_known(benchmark, entries, "benchmark")]


@dataclass(frozen=True)
class Verdict:
    """One rule, judged.

    Attributes:
        rule: The configuration's word for it.
        subject: The benchmark, with the model where one matters.
        got: The measured value, in words.
        wanted: The bound, in words.
        holds: Whether it does.
    """

    rule: str
    subject: str
    got: str
    wanted: str
    holds: bool

    def as_json(self) -> dict[str, Any]:
        """The verdict as the report holds it."""
        values = asdict(self)
        values["verdict"] = "pass" if values.pop("holds") else "fail"
        return values

    def sentence(self) -> str:
        """The verdict as the error message says it."""
        return f"{self.rule}, {self.subject}: got {self.got}, wanted {self.wanted}"


def evaluate(config: GateConfig, evidence: Evidence, baseline: Evidence | None) -> list[Verdict]:
    """Judges every rule of the configuration.

    Args:
        config: The rules.
        evidence: The reports of this run.
        baseline: The evaluation of the earlier package, when the rules name one.

    Returns:
        One verdict per rule and benchmark, in the order of the configuration.

    Raises:
        ComponentError: A rule names a benchmark, model or metric that no report holds, or reports for it are missing.
    """
    return [
        *_contamination(config, evidence),
        *_scores(config, evidence),
        *(_regressions(config, evidence, baseline) if baseline is not None else ()),
    ]


def markdown(verdicts: Iterable[Verdict]) -> list[str]:
    """The verdicts as lines of a Markdown table."""
    rows = [(v.rule, v.subject, v.got, v.wanted, "pass" if v.holds else "**FAIL**") for v in verdicts]
    return table(("rule", "subject", "got", "wanted", "verdict"), rows)


def difference_bounds(new: Mapping[str, float], old: Mapping[str, float]) -> tuple[float, float]:
    """The 95% interval of ``new - old`` from the two scores' own intervals (Newcombe's method 10)."""
    difference = new["score"] - old["score"]
    below = math.hypot(new["score"] - new["low"], old["high"] - old["score"])
    above = math.hypot(new["high"] - new["score"], old["score"] - old["low"])
    return difference - below, difference + above


def _contamination(config: GateConfig, evidence: Evidence) -> Iterator[Verdict]:
    limits = config.max_contamination
    if limits is None:
        return
    shares = evidence.contamination
    if not shares:
        raise ComponentError(
            "gate: max_contamination is set, but no report says how contaminated the benchmarks are; connect the "
            "report of decontaminate"
        )
    if not isinstance(limits, dict):
        limits = dict.fromkeys(sorted(shares), limits)
    for name, limit in limits.items():
        share = shares[_known(name, shares, "benchmark")]
        yield Verdict("max_contamination", name, f"{share:.2%}", f"at most {limit:.2%}", share <= limit)


def _scores(config: GateConfig, evidence: Evidence) -> Iterator[Verdict]:
    for rule, limits in (("min_scores", config.min_scores), ("max_scores", config.max_scores)):
        for name, limit in limits.items():
            model = _model(limit.model or config.model, evidence, f"{rule}.{name}")
            entry = evidence.entry(model, name)
            higher = bool(entry["higher_is_better"])
            if higher != (rule == "min_scores"):
                right = "min_scores" if higher else "max_scores"
                raise ComponentError(
                    f"gate: {rule}.{name}: {'more' if higher else 'less'} {entry['metric']} is better; "
                    f"put the rule under {right}"
                )
            score = float(entry["score"])
            wanted = limit.min if rule == "min_scores" else limit.max  # type: ignore[union-attr]
            holds = score >= wanted if higher else score <= wanted
            words = f"{'at least' if higher else 'at most'} {wanted:g}"
            yield Verdict(rule, f"{name} of {model}", _shown(entry), words, holds)


def _regressions(config: GateConfig, evidence: Evidence, baseline: Evidence) -> Iterator[Verdict]:
    model = _model(config.model, evidence, "baseline")
    old_model = _known(config.baseline_model or model, baseline.scores, "model of the baseline")
    new_entries, old_entries = (
        evidence.scores[_known(model, evidence.scores, "model")],
        baseline.scores[old_model],
    )
    limits = config.max_regression
    if isinstance(limits, dict):
        for name in limits:
            _known(name, old_entries, "benchmark of the baseline")
    for name, old in sorted(old_entries.items()):
        limit = limits.get(name, 0.0) if isinstance(limits, dict) else limits
        subject = f"{name} of {model}"
        new = new_entries.get(name)
        if new is None:
            yield Verdict(
                "max_regression", subject, "not measured", f"measured as before ({_shown(old)})", False
            )
            continue
        if new["metric"] != old["metric"]:
            yield Verdict("max_regression", subject, new["metric"], f"{old['metric']} as before", False)
            continue
        low, high = difference_bounds(new, old)
        # The loss that is certain: the whole difference, or only what lies beyond its interval.
        if config.regression_test == "absolute":
            low = high = float(new["score"]) - float(old["score"])
        loss = -high if new["higher_is_better"] else low
        yield Verdict(
            "max_regression",
            subject,
            _shown(new),
            f"no worse than {_shown(old)} by more than {limit:g}"
            + (" with 95% confidence" if config.regression_test == "interval" else ""),
            loss <= limit,
        )


def _model(label: str | None, evidence: Evidence, rule: str) -> str:
    """The model that a rule is about."""
    if not evidence.scores:
        raise ComponentError(
            f"gate: {rule} needs scores, but no report holds any; connect the report of evaluate"
        )
    if label is not None:
        return label
    if len(evidence.scores) == 1:
        return next(iter(evidence.scores))
    raise ComponentError(
        f"gate: {rule} names no model and the evaluation has {', '.join(sorted(evidence.scores))}; set `model`"
    )


def _known(name: str, names: Iterable[str], what: str) -> str:
    """The name, when it is one of the names.

    Raises:
        ComponentError: It is not; says the closest.
    """
    known = sorted(names)
    if name in known:
        return name
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ComponentError(f"gate: got the {what} {name!r}, expected one of {', '.join(known)}{hint}")


def _shown(entry: Mapping[str, Any]) -> str:
    return f"{entry['score']:.4f} ({entry['low']:.4f} to {entry['high']:.4f})"
