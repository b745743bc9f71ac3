"""The command line: one Typer application, its commands in files by theme.

Heavy packages are imported inside the commands that need them, because ``millrace --help`` and an unchanged
``millrace run`` are measured in tenths of a second.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Annotated, Any, NoReturn

import typer

from . import container, inspect, replaying, running, serving, starting, stores, tensorboard, tracing

app = typer.Typer(
    name="millrace",
    help="From raw text to a served language model with one declarative file.\n\n"
    "A pipeline.yaml names the stages; `millrace run` runs them and reuses by content what did not change. "
    "Exit codes: 0 done, 1 failed, 2 usage or spec error, 3 gate closed.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
starting.register(app)
running.register(app)
inspect.register(app)
tensorboard.register(app)
tracing.register(app)
replaying.register(app)
stores.register(app)
serving.register(app)
container.register(app)


def _version(asked: bool) -> None:
    if asked:
        import importlib.metadata

        typer.echo(importlib.metadata.version("millrace"))
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


def main() -> NoReturn:
    """Runs the command line; a user's mistake ends in a message and an exit code, never in a traceback."""
    try:
        app()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        code, report = _explained(error)
        if report is None:
            raise
        if "--json" in sys.argv:
            print(json.dumps({"error": report, "exit_code": code}))
        for line in report:
            print(f"millrace: {line}" if line is report[0] else f"  {line}", file=sys.stderr)
        sys.stdout.flush()
        sys.exit(code)
    sys.exit(0)


def _explained(error: Exception) -> tuple[int, list[str] | None]:
    """Exit code and message of an error that the user can mend, or None for a defect."""
    from millrace.pipelines.store.errors import StoreError
    from millrace.pipelines.trace.errors import TraceError

    if isinstance(error, TraceError | StoreError):
        return 1, str(error).splitlines()

    from millrace.components.contract import ComponentError, GateClosed
    from millrace.pipelines.spec.source_map import SpecError
    from millrace.pipelines.stages.failures import explain

    if isinstance(error, SpecError):
        many = len(error.mistakes)
        first: Any = [] if many == 1 else [f"the spec has {many} mistakes, nothing was run"]
        return 2, [*first, *map(str, error.mistakes)]
    if isinstance(error, GateClosed):
        return 3, str(error).splitlines()
    if isinstance(error, ComponentError):
        return 1, str(error).splitlines()
    message = explain(error)
    return 1, [message] if message else None
