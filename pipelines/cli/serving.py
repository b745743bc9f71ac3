"""Commands that use a package: chat and serve."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Package = Annotated[
    Path | None,
    typer.Argument(metavar="[PACKAGE]", help="A package folder; the spec's newest when left out."),
]
SpecOption = Annotated[Path, typer.Option("--spec", help="The pipeline whose newest package to use.")]
Weights = Annotated[
    Literal["float32", "int4"], typer.Option("--weights", help="Which weights of the package to load.")
]


def register(app: typer.Typer) -> None:
    """Adds the commands to the application."""


def newest_package(spec: Path, store: str | None) -> Path:
    """The folder of the newest package that a run of the spec made.

    Raises:
        ComponentError: No run has made one.
    """
    from ...components.contract import ComponentError
    from .stores import open_store

    opened = open_store(spec, store)
    for run in reversed(opened.run_ids()):
        state = opened.read_run(run) or {}
        for stage in state.get("stages", {}).values():
            record = opened.record(stage["key"]) if stage.get("key") else None
            for output in record.outputs.values() if record else ():
                if output["kind"] == "package" and opened.has(output["digest"]):
                    return opened.folder(output["digest"])
    raise ComponentError(
        f"no run of {spec} has made a package yet; `millrace run` does, or name a package folder"
    )
