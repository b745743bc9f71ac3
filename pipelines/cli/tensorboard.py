"""``millrace tensorboard``: a run's curves for TensorBoard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from . import options
from .stores import open_store


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command("tensorboard")(tensorboard)


def tensorboard(
    spec: options.SpecPath = options.DEFAULT_SPEC,
    store: options.StoreUri = None,
    run: Annotated[
        str | None, typer.Option("--run", help="A run's id or its beginning; the latest when left out.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the event files, one inside for each run.")
    ] = Path("tensorboard"),
    as_json: options.Json = False,
) -> None:
    """Write a run's live metrics (loss, tokens a second, utilisation, …) as TensorBoard event files.

    Also while the run goes on: the same command again takes what has come since. TensorBoard itself is not needed here.
    """
    from ...components.contract import ComponentError
    from .. import tensorboard as event_files

    opened = open_store(spec, store)
    found = [name for name in opened.run_ids() if name.startswith(run or "")]
    if not found:
        raise ComponentError(
            f"got no run{f' that begins with {run!r}' if run else ''}; `millrace runs` lists them"
        )
    name = found[-1]
    data = opened.backend.read(f"runs/{name}/events.jsonl") or b""
    folder = output / name
    written = event_files.export(data.decode("utf-8", "replace").splitlines(), folder)
    if not written:
        raise ComponentError(
            f"the run {name} has no metrics with steps: only stages that train have, and only in the run that ran them"
        )
    if as_json:
        print(json.dumps({"run": name, "folder": str(folder), "values": written}))
        return
    for stage, count in written.items():
        typer.echo(f"{stage:<20} {count:>8,} values")
    typer.echo(f"\ntensorboard --logdir {output}")
