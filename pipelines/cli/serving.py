"""Commands that use a package: chat and serve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from . import options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from millrace.pipelines.store.store import Store

Package = Annotated[
    Path | None,
    typer.Argument(metavar="[PACKAGE]", help="A package folder; the spec's newest when left out."),
]
SpecOption = Annotated[Path, typer.Option("--spec", help="The pipeline whose newest package to use.")]
Weights = Annotated[
    Literal["float32", "int4"], typer.Option("--weights", help="Weights of the package to load.")
]


def register(app: typer.Typer) -> None:
    """Adds the commands to the application."""
    app.command("chat")(chat)
    app.command("serve")(serve)


def chat(
    package: Package = None,
    spec: SpecOption = options.DEFAULT_SPEC,
    store: options.StoreUri = None,
    weights: Weights = "float32",
    prompt: Annotated[str | None, typer.Option("--prompt", help="Answer this once and exit.")] = None,
    system: Annotated[
        str | None, typer.Option("--system", help="A system message that opens the conversation.")
    ] = None,
    temperature: Annotated[
        float, typer.Option("--temperature", min=0.0, max=2.0, help="0 always takes the likeliest token.")
    ] = 0.7,
    top_p: Annotated[
        float,
        typer.Option(
            "--top-p", min=0.01, max=1.0, help="Draw from the likeliest tokens of this total probability."
        ),
    ] = 0.95,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", min=1, help="Longest answer; all that fits when left out.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="The same seed gives the same answers.")
    ] = None,
) -> None:
    """Talk to a model package in the terminal; also answers one prompt, or standard input."""
    from millrace.components.contract import ComponentError
    from millrace.pipelines.stages.environment import compute_here

    folder = package or newest_package(spec, store)
    compute_here()
    from millrace.model.package.package import PackageError
    from millrace.pipelines.serve import chat as conversation

    try:
        conversation.chat(
            folder,
            weights=weights,
            prompt=prompt,
            system=system,
            temperature=temperature,
            top_p=top_p,
            max_tokens=max_tokens,
            seed=seed,
        )
    except (conversation.ChatError, PackageError) as error:
        raise ComponentError(str(error)) from error


def serve(
    package: Package = None,
    spec: SpecOption = options.DEFAULT_SPEC,
    store: options.StoreUri = None,
    weights: Weights = "float32",
    host: Annotated[
        str,
        typer.Option(
            "--host", help="Address to bind; any but this machine's own asks for a token (MILLRACE_TOKEN)."
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    rows: Annotated[
        int, typer.Option("--rows", min=1, max=256, help="Answers generated at the same time.")
    ] = 4,
    max_waiting: Annotated[
        int,
        typer.Option(
            "--max-waiting",
            min=1,
            help="Answers that may wait, those of a request as an eighth at most; more are refused.",
        ),
    ] = 64,
) -> None:
    """Serve a model package with OpenAI's routes: /v1/models, /v1/completions, /v1/chat/completions."""
    from millrace.components.contract import ComponentError
    from millrace.pipelines.stages.environment import compute_here

    folder = package or newest_package(spec, store)
    compute_here()
    from millrace.model.package.package import PackageError
    from millrace.pipelines.serve import run

    try:
        run.serve(folder, host=host, port=port, weights=weights, rows=rows, max_waiting=max_waiting)
    except (run.ServeError, PackageError) as error:
        raise ComponentError(str(error)) from error


def newest_package(spec: Path, store: str | None) -> Path:
    """The folder of the newest package that a run of the spec's pipeline made.

    Args:
        spec: The spec, of which only the name and the store are read.
        store: Another store. One whose packages are all of one pipeline needs no spec.

    Raises:
        ComponentError: No run has made one, or there is no spec to say which of several pipelines is meant.
    """
    from millrace.components.contract import ComponentError

    from .stores import name_and_store, open_store, open_store_of

    if store is None:
        opened, pipeline = open_store_of(spec, None)
    else:
        opened, pipeline = open_store(spec, store), name_and_store(spec)[0]
    newest: dict[str, str] = {}
    for run in reversed(opened.run_ids()):
        state = opened.read_run(run) or {}
        made_by = str(state.get("pipeline"))
        if made_by not in newest and pipeline in (None, made_by) and (digest := _package(opened, state)):
            newest[made_by] = digest
            if pipeline is not None:
                break
    if not newest:
        raise ComponentError(
            f"no run of {spec} has made a package yet; `millrace run` does, or name a package folder"
        )
    if len(newest) > 1:
        raise ComponentError(
            f"got a store with packages of the pipelines {', '.join(sorted(newest))} and no spec at {spec}, expected to be "
            "told which: name the pipeline's spec with --spec, or a package folder"
        )
    return opened.take(next(iter(newest.values())))


def _package(store: Store, state: Mapping[str, Any]) -> str | None:
    """The digest of a run's package that is still there."""
    for stage in state.get("stages", {}).values():
        record = store.record(stage["key"]) if stage.get("key") else None
        for output in record.outputs.values() if record else ():
            if output["kind"] == "package" and store.has(output["digest"]):
                return str(output["digest"])
    return None
