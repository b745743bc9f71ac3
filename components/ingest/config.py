"""Configuration and ports of ``ingest``."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, StringConstraints

from millrace.components.contract import Component, ComponentError, Config, Port

from .sources import SOURCES, AnySource

SourceName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]


class IngestConfig(Config):
    """The sources to read."""

    sources: dict[SourceName, AnySource] = Field(min_length=1, description="Name -> source.")
    max_bad_fraction: float = Field(
        default=0.01, ge=0.0, le=1.0, description="Share of a source that may be malformed."
    )


def fingerprint(config: IngestConfig) -> dict[str, Any]:
    """The fingerprint of the sources, from names, versions, sizes and modification times."""
    from millrace.data.sources.records import SourceError

    result: dict[str, Any] = {}
    for name, source in sorted(config.sources.items()):
        try:
            result[name] = SOURCES[source.type].fingerprint(source)
        except SourceError as error:
            raise ComponentError(f"source {name}: {error}") from None
    return result


COMPONENT = Component(
    name="ingest",
    summary="Read sources into documents; set held-out documents aside.",
    config=IngestConfig,
    outputs={
        "documents": Port("documents", "What training may use."),
        "held_out": Port("documents", "What is kept out of training, for evaluation."),
        "decisions": Port("decisions", "What was read, held out, empty or malformed."),
    },
    run="millrace.components.ingest.stage:run",
    key_metric="held_out_documents",
    fingerprint=fingerprint,
)
