"""The command that a container executes: run-stage."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options

if TYPE_CHECKING:
    from millrace.pipelines.spec.models import Pipeline


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command("run-stage")(run_stage)


def run_stage(
    stage: Annotated[str, typer.Option("--stage", help="The stage to run.")],
    spec: Annotated[Path | None, typer.Option("--spec", help="The pipeline's file.")] = None,
    spec_json: Annotated[
        str | None,
        typer.Option("--spec-json", metavar="TEXT", help="A resolved spec as JSON, instead of a file."),
    ] = None,
    store: options.StoreUri = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input", metavar="PORT[.LABEL]=DIGEST", help="An input artifact; once for each input."
        ),
    ] = None,
    upstream: Annotated[
        list[str] | None,
        typer.Option(
            "--upstream", metavar="STAGE=KEY", help="Stage key of a stage upstream, where lineage is read."
        ),
    ] = None,
    output_folder: Annotated[
        Path | None,
        typer.Option("--output-folder", help="Write every digest, the key, the metrics and a summary here."),
    ] = None,
    outputs: Annotated[
        list[str] | None,
        typer.Option("--output", metavar="NAME=FILE", help="Write one of these to this file instead."),
    ] = None,
    job: Annotated[
        str | None, typer.Option("--job", help="Id of the cluster's job, the same for all stages of a run.")
    ] = None,
    executor_input: Annotated[
        str | None,
        typer.Option("--executor-input", metavar="JSON", help="Kubeflow's executor input.", hidden=True),
    ] = None,
) -> None:
    """Run one stage, or find it in the store; containers execute this.

    The stage key is the same as that of `millrace run`, so either reuses what the other made. Exit codes as
    everywhere: 0 done, 1 failed, 2 the call or the spec is wrong, 3 the gate is closed.
    """
    from millrace.pipelines.engines import run_stage as stages
    from millrace.pipelines.spec import check

    folder = output_folder.absolute() if output_folder else None
    named = {name: Path(path).absolute() for name, path in _pairs("--output", outputs).items()}
    pipeline: Pipeline
    if spec_json is not None and spec is None:
        pipeline = stages.from_json(spec_json, store)
    elif spec_json is None:
        path = (spec or options.DEFAULT_SPEC).absolute()
        pipeline = check.load(path, store=store)
        os.chdir(pipeline.folder)  # paths in a spec's file count from its folder
    else:
        raise typer.BadParameter("got --spec and --spec-json, expected one of them")
    if folder is not None and stage in pipeline.nodes:
        ports = [*pipeline.nodes[stage].component.outputs, stages.KEY]
        files = {name: folder / name for name in ports}
        files |= {stages.METRICS: folder / "metrics.json", stages.SUMMARY: folder / "summary.md"}
        named = files | named
    call = stages.StageCall(
        stage=stage,
        inputs=_pairs("--input", inputs),
        upstream=_pairs("--upstream", upstream),
        job=job,
        files=named,
        executor_input=_json("--executor-input", executor_input),
    )
    stages.run_stage(pipeline, call)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # threads of jax, Beam and gRPC have nothing left to do, and joining them can take seconds


def _pairs(option: str, values: list[str] | None) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for value in values or ():
        name, equals, rest = value.partition("=")
        if not (name and equals and rest):
            raise typer.BadParameter(f"got {value!r}, expected NAME=VALUE", param_hint=option)
        if name in pairs:
            raise typer.BadParameter(f"{name} is given twice", param_hint=option)
        pairs[name] = rest
    return pairs


def _json(option: str, text: str | None) -> Any:
    try:
        return json.loads(text) if text is not None else None
    except ValueError as error:
        raise typer.BadParameter(f"got text that is not JSON: {error}", param_hint=option) from None
