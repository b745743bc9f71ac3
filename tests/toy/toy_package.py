"""A toy package: a text with a card about where it came from."""

from __future__ import annotations

import json

from millrace.components.contract import Component, Config, Context, Inputs, Port


class PackageConfig(Config):
    """Nothing to configure."""


def run(context: Context, config: PackageConfig, inputs: Inputs) -> None:
    """Packs."""
    folder = context.output("package")
    (folder / "text.txt").write_text((inputs.one("text").path / "part-0.txt").read_text())
    card = {record.stage: dict(record.config) for record in context.lineage}
    (folder / "MODEL_CARD.md").write_text(json.dumps(card, sort_keys=True))


COMPONENT = Component(
    name="toy_package",
    summary="Packs a text.",
    config=PackageConfig,
    inputs={"text": Port("documents", "The text."), "gate": Port("report", "The verdict.", optional=True)},
    outputs={"package": Port("package", "The package.")},
    run="millrace.components.toy_package:run",
    reads_lineage=True,
)
