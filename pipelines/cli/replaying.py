"""The command that executes training steps again and compares them: replay."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from . import options, tracing
from .stores import open_store_of

if TYPE_CHECKING:
    from rich.console import Console

    from millrace.pipelines.stages.replay import Replay


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command("replay")(replay)


def replay(
    stage: Annotated[str, typer.Argument(help="A stage of the run that trains on tokens.")],
    spec: options.SpecPath = options.DEFAULT_SPEC,
    steps: Annotated[
        str, typer.Option("--steps", metavar="A:B", help="Steps to compare, from 0; B is not among them.")
    ] = ":",
    store: options.StoreUri = None,
    run: tracing.RunId = None,
    as_json: options.Json = False,
) -> None:
    """Execute training steps again and compare them bit for bit; exit code 1 when a step differs.

    Execution begins with the newest state that the stage kept (keep_state_every_steps), or with step 0.
    """
    import logging

    from millrace.pipelines.stages.environment import compute_here
    from millrace.pipelines.stages.replay import replay as replay_stage
    from millrace.pipelines.trace.runs import open_run

    first, end = _range(steps)
    compute_here()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    opened, pipeline = open_store_of(spec, store)
    with open_run(opened, pipeline=pipeline if run is None else None, run=run) as found:
        result = replay_stage(found, stage, first, end, logging.getLogger(stage))
    if as_json:
        print(json.dumps(asdict(result)))
    else:
        from rich.console import Console

        _view(Console(highlight=False), result)
    if not result.equal:
        raise typer.Exit(1)


def _range(text: str) -> tuple[int, int | None]:
    first, colon, end = text.partition(":")
    try:
        parsed = int(first or 0), int(end) if end else None
    except ValueError:
        parsed = (0, 0)
    if not colon or parsed[0] < 0 or (parsed[1] is not None and parsed[1] <= parsed[0]):
        raise typer.BadParameter(f"got {text!r}, expected A:B with A < B, for example 0:100, or A: or :B")
    return parsed


def _view(console: Console, result: Replay) -> None:
    print_ = console.print
    begun = f", begun with the kept state of step {result.begun_with}" if result.begun_with else ""
    steps = f"steps {result.first_step} to {result.end_step - 1}{begun}"
    print_(f"{result.stage} of {result.run}: {steps}", soft_wrap=True)
    if result.difference is None:
        print_("all are the same, bit for bit")
    else:
        found = result.difference
        equal = found.parameters_equal_after_step
        known = "were not compared before it" if equal is None else f"were equal after step {equal}"
        print_(f"step {found.step} is the first that differs; the parameters {known}", soft_wrap=True)
        for name in found.fields:
            print_(
                f"  {name}: recorded {found.recorded[name]}, replayed {found.replayed[name]}", soft_wrap=True
            )
    for name, (then, now) in result.versions.items():
        print_(f"  not the same any more: {name} {then} is now {now}", soft_wrap=True)
    for change in result.code:
        print_(f"  not the same any more: {change}", soft_wrap=True)
