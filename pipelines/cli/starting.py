"""The command that writes a first spec: init."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command("init")(init)


def init(
    documents: Annotated[
        list[str] | None,
        typer.Option(
            "--documents", "-d", help="Your documents: a file or glob, quoted; each use makes a source."
        ),
    ] = None,
    benchmark: Annotated[
        list[str] | None,
        typer.Option(
            "--benchmark",
            "-b",
            help="Your questions: JSON lines {id, prompt, choices, answer} or {id, prompt, answer}.",
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where to write the spec.")
    ] = options.DEFAULT_SPEC,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write a commented spec for your own documents, or without any, the reference pipeline.

    Looks at the documents to find their columns and choose sizes and thresholds that fit; says what it found.
    """
    from millrace.pipelines.spec import init as starting

    if output.exists() and not force:
        starting.write_new(output, "", force=False)
    if documents:
        text, found = starting.documents_spec(documents, benchmark or (), output.absolute().parent)
        for line in found:
            typer.echo(line)
    elif benchmark:
        raise typer.BadParameter(
            "--benchmark needs --documents: the reference pipeline has its own questions"
        )
    else:
        text = starting.reference_spec()
    starting.write_new(output, text, force=force)
    where = "" if output == options.DEFAULT_SPEC else f" {output}"
    typer.echo(f"wrote {output}; next: millrace check{where}, then millrace run{where}")
