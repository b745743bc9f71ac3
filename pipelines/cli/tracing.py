"""Commands that trace: from a document, a text, an example, a step or an artifact to where it came from and went."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from . import options
from .stores import open_store_of

if TYPE_CHECKING:
    from pathlib import Path

    from millrace.pipelines.cli.views.tracing import Trace
    from millrace.pipelines.trace.runs import Run

trace_app = typer.Typer(
    help="Where a document, text, example, training step or artifact came from, and what became of it.",
    no_args_is_help=True,
)

RunId = Annotated[
    str | None,
    typer.Option("--run", help="A run's id or its beginning; the pipeline's latest when left out."),
]


def register(app: typer.Typer) -> None:
    """Adds the group to the application."""
    app.add_typer(trace_app, name="trace")


@trace_app.command("doc")
def doc(
    document: Annotated[
        str,
        typer.Argument(
            metavar="ID|URI", help="A document's id, its first 6 digits, its uri or the end of it."
        ),
    ],
    spec: options.SpecPath = options.DEFAULT_SPEC,
    store: options.StoreUri = None,
    run: RunId = None,
    as_json: options.Json = False,
) -> None:
    """Trace a document: its source, every stage's decision and evidence, its tokens, the steps that read them."""
    from millrace.pipelines.trace import documents

    _answer(spec, store, run, as_json, lambda opened: documents.document(opened, document))


@trace_app.command("text")
def text(
    words: Annotated[str, typer.Argument(metavar="TEXT", help="Text that the documents contain.")],
    spec: options.SpecPath = options.DEFAULT_SPEC,
    store: options.StoreUri = None,
    run: RunId = None,
    limit: Annotated[
        int,
        typer.Option(
            "--limit",
            "-n",
            min=1,
            help="Documents to show; a large corpus is searched until there are as many.",
        ),
    ] = 10,
    count: Annotated[
        bool,
        typer.Option("--count", help="Count all documents, which for a common text reads the whole corpus."),
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Find the documents that contain a text, and the fate of each."""
    from millrace.pipelines.trace import text

    _answer(spec, store, run, as_json, lambda opened: text.search(opened, words, limit, count_all=count))


@trace_app.command("example")
def example(
    name: Annotated[str, typer.Argument(metavar="BENCHMARK/ID", help="The benchmark and the example's id.")],
    spec: options.SpecPath = options.DEFAULT_SPEC,
    store: options.StoreUri = None,
    run: RunId = None,
    as_json: options.Json = False,
) -> None:
    """Trace a benchmark example: its text, its source, the documents that overlap it."""
    from millrace.pipelines.trace import documents

    _answer(spec, store, run, as_json, lambda opened: documents.example(opened, name))


@trace_app.command("step")
def step(
    number: Annotated[int, typer.Argument(metavar="N", min=0, help="A training step, from 0.")],
    spec: options.SpecPath = options.DEFAULT_SPEC,
    stage: Annotated[
        str | None,
        typer.Option("--stage", help="A stage that trains on tokens; the run's first when left out."),
    ] = None,
    store: options.StoreUri = None,
    run: RunId = None,
    as_json: options.Json = False,
) -> None:
    """Trace a training step: the documents in each row of its batch."""
    from millrace.pipelines.trace import training

    _answer(spec, store, run, as_json, lambda opened: training.step(opened, number, stage))


@trace_app.command("artifact")
def artifact(
    digest: Annotated[str, typer.Argument(help="An artifact's digest, or its first 4 digits or more.")],
    spec: options.SpecPath = options.DEFAULT_SPEC,
    store: options.StoreUri = None,
    as_json: options.Json = False,
) -> None:
    """Trace an artifact: the stage that made it, its inputs up to the sources, everything made from it."""
    import contextlib

    from millrace.pipelines.index import lineage
    from millrace.pipelines.trace.artifacts import artifact as trace_artifact

    opened, _ = open_store_of(spec, store)
    with contextlib.closing(lineage.open_index(opened)) as index:
        _show(trace_artifact(opened, index, digest), as_json)


def _answer(
    spec: Path,
    store: str | None,
    run: str | None,
    as_json: bool,
    ask: Callable[[Run], Trace],
) -> None:
    from millrace.pipelines.trace.runs import open_run

    opened, pipeline = open_store_of(spec, store)
    with open_run(opened, pipeline=pipeline if run is None else None, run=run) as found:
        answer = ask(found)
    _show(answer, as_json)


def _show(answer: Trace, as_json: bool) -> None:
    if as_json:
        print(json.dumps(asdict(answer)))
        return
    from rich.console import Console

    from millrace.pipelines.cli.views import tracing

    tracing.show(Console(highlight=False), answer)
