"""A toy gate: closes when any size is over a limit."""

from __future__ import annotations

import json

from pydantic import Field

from millrace.components.contract import Component, Config, Context, GateClosed, Inputs, Port


class GateConfig(Config):
    """The rule."""

    most: int = Field(100, description="The largest size that passes.")


def run(context: Context, config: GateConfig, inputs: Inputs) -> None:
    """Judges."""
    for report in inputs.many("reports").values():
        sizes = json.loads((report.path / "report.json").read_text())["characters"]
        for label, size in sizes.items():
            if size > config.most:
                raise GateClosed(f"{label} has {size} characters, expected at most {config.most}")
    (context.output("report") / "report.json").write_text('{"open": true}')


COMPONENT = Component(
    name="toy_gate",
    summary="Lets small texts pass.",
    config=GateConfig,
    inputs={"reports": Port("report", "What to judge.", many=True)},
    outputs={"report": Port("report", "The verdict.")},
    run="millrace.components.toy_gate:run",
    gate=True,
)
