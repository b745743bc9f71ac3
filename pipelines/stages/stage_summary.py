"""One page about a finished stage, in Markdown: what a cluster's UI shows beside its node.

The UI loads it whole, so a report's own text is cut at 64 KiB; the artifacts themselves stay in the store.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from millrace.components.reports.figures import number, size
from millrace.components.reports.markdown import table
from millrace.pipelines.store.record import StageRecord
from millrace.pipelines.store.store import Store

REPORT_CHARACTERS = 64 * 1024


def summary(record: StageRecord, store: Store, ran: bool) -> str:
    """The page: state, metrics, outputs with digests, the report's text if there is one, inputs, configuration.

    Args:
        record: The stage's record.
        store: Where its artifacts are.
        ran: Whether it ran now or was found in the store.
    """
    state = f"ran in {record.seconds:.1f} s" if ran else f"reused from run {record.run}"
    parts = [f"# {record.stage}\n\n{record.component}: {state}. Stage key `{record.key}`.\n"]
    if record.metrics:
        figures = [(name, number(value, "nan")) for name, value in sorted(record.metrics.items())]
        parts.append("## Metrics\n\n" + _table(("metric", "value"), figures))
    rows = []
    reports = []
    for port, output in record.outputs.items():
        manifest = store.manifest(output["digest"]) or {"files": {}}
        total = sum(file["bytes"] for file in manifest["files"].values())
        rows.append((port, output["kind"], str(len(manifest["files"])), size(total), f"`{output['digest']}`"))
        if output["kind"] == "report" and "report.md" in manifest["files"]:
            text = (store.folder(output["digest"]) / "report.md").read_text(encoding="utf-8")
            reports.append(text[:REPORT_CHARACTERS])
    parts.append("## Outputs\n\n" + _table(("port", "kind", "files", "size", "digest"), rows))
    parts.extend(reports)
    if record.inputs:
        given = [(port, _digests(value)) for port, value in record.inputs.items()]
        parts.append("## Inputs\n\n" + _table(("port", "digest"), given))
    config = json.dumps(record.config, indent=2, sort_keys=True)
    parts.append(f"## Configuration\n\n```json\n{config}\n```\n")
    return "\n".join(parts)


def _digests(value: Any) -> str:
    if isinstance(value, str):
        return f"`{value}`"
    return ", ".join(f"{label} `{digest}`" for label, digest in value.items())


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "".join(f"{line}\n" for line in table(headers, rows))
