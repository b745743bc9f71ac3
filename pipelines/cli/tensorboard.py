"""``millrace tensorboard``: a run's curves for TensorBoard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from . import options, tracing
from .stores import open_store_of


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command("tensorboard")(tensorboard)


def tensorboard(
    spec: options.SpecPath = options.DEFAULT_SPEC,
    store: options.StoreUri = None,
    run: tracing.RunId = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the event files, one inside for each run.")
    ] = Path("tensorboard"),
    as_json: options.Json = False,
) -> None:
    """Write a run's live metrics (loss, tokens a second, utilisation, …) as TensorBoard event files.

    Also while the run goes on: the same command again takes what has come since. TensorBoard itself is not needed here.
    """
    from millrace.components.contract import ComponentError
    from millrace.pipelines.cli.views import event_files

    opened, pipeline = open_store_of(spec, store)
    for name in reversed(opened.run_ids()):
        state = opened.read_run(name) or {}
        if not (name.startswith(run) if run else pipeline in (None, state.get("pipeline"))):
            continue
        data = opened.backend.read(f"runs/{name}/events.jsonl") or b""
        folder = output / name
        written = event_files.export(data.decode("utf-8", "replace").splitlines(), folder)
        if written or run:
            break
    else:
        name, folder, written = "", output, {}
    if not written:
        which = (
            f"the run {name}"
            if name
            else f"a run that begins with {run!r}"
            if run
            else "a run of this pipeline"
        )
        raise ComponentError(
            f"got no metrics with steps, expected some in {which}: only stages that train have them, in the run that "
            "ran them and not in those that reused it; `millrace runs` lists the runs"
        )
    if as_json:
        print(json.dumps({"run": name, "folder": str(folder), "values": written}))
        return
    for stage, count in written.items():
        typer.echo(f"{stage:<20} {count:>8,} values")
    typer.echo(f"\ntensorboard --logdir {output}")
