"""A toy source: writes its text, or what a file outside the store holds."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field

from millrace.components.contract import Component, ComponentError, Config, Context, Inputs, Port, runtime


class SourceConfig(Config):
    """What to write."""

    text: str = Field("text", description="What the artifact holds.")
    file: str | None = Field(None, description="A file to read in its place.")
    parts: int = Field(1, ge=1, description="How many files to write.")
    workers: int = runtime(1, ge=1)


def fingerprint(config: SourceConfig) -> list[object] | None:
    """What tells that the file changed."""
    if config.file is None:
        return None
    state = os.stat(config.file) if os.path.exists(config.file) else None
    return [config.file, state.st_size, state.st_mtime_ns] if state else [config.file]


def run(context: Context, config: SourceConfig, inputs: Inputs) -> None:
    """Writes the text."""
    text = config.text
    if config.file is not None:
        if not Path(config.file).exists():
            raise ComponentError(f"got no file {config.file}, expected one: write it")
        text = Path(config.file).read_text()
    for part in range(config.parts):
        (context.output("documents") / f"part-{part}.txt").write_text(text)
    context.metric("documents_out", config.parts)


COMPONENT = Component(
    name="toy_source",
    summary="Writes a text.",
    config=SourceConfig,
    outputs={"documents": Port("documents", "The text.")},
    run="millrace.components.toy_source:run",
    fingerprint=fingerprint,
)
