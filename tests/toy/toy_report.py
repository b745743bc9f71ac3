"""A toy report: how long each text is."""

from __future__ import annotations

import json

from pydantic import Field

from millrace.components.contract import Component, Config, Context, Inputs, Port


class ReportConfig(Config):
    """What to measure."""

    unit: str = Field("characters", description="The name of the unit.")


def run(context: Context, config: ReportConfig, inputs: Inputs) -> None:
    """Measures."""
    sizes = {
        label: sum(len(file.read_text()) for file in sorted(text.path.glob("part-*")))
        for label, text in inputs.many("texts").items()
    }
    report = json.dumps({config.unit: sizes}, sort_keys=True)
    (context.output("report") / "report.json").write_text(report)
    context.metric("total", sum(sizes.values()))


COMPONENT = Component(
    name="toy_report",
    summary="Measures texts.",
    config=ReportConfig,
    inputs={"texts": Port("documents", "The texts.", many=True, optional=True)},
    outputs={"report": Port("report", "Their sizes.")},
    run="millrace.components.toy_report:run",
    key_metric="total",
)
