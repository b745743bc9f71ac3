"""``gate``: rules over the reports decide whether a model may ship.

Every rule is evaluated, also after the first that fails, because the person who has to open a closed gate needs the
whole list. A rule that names a benchmark or a model that no report holds is a mistake in the spec and never a pass; so
is a gate without any rule. A figure that is not a number closes the gate.

Against an earlier package a score counts as worse only when the difference exceeds ``max_regression`` with 95%
confidence (``regression_test: interval``), so that noise of a few hundred examples does not block a release, or
plainly (``absolute``).

A closed gate ends the run with exit code 3; nothing after it runs.
"""

from __future__ import annotations

import json

from millrace.components.artifacts import read_report
from millrace.components.contract import Context, GateClosed, Inputs
from millrace.components.reports.files import write_json

from .config import GateConfig, baseline_file, fingerprint
from .rules import Evidence, evaluate, markdown


def run(context: Context, config: GateConfig, inputs: Inputs) -> None:
    """Evaluates every rule, writes the table, and raises when one does not hold."""
    reports = {label: read_report(artifact) for label, artifact in inputs.many("reports").items()}
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
    lines = markdown(verdicts)
    folder = context.output("report")
    write_json(folder / "report.json", report, ascii=False)
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
