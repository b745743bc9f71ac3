"""Commands that plan and run: run, plan, check, schema, compile, adopt."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options

if TYPE_CHECKING:
    from rich.console import Console

    from millrace.pipelines.engines.local import RunResult
    from millrace.pipelines.plan.plan import Planner, StagePlan
    from millrace.pipelines.spec.models import Pipeline

Only = Annotated[
    list[str] | None, typer.Option("--only", help="Run this stage alone; its inputs must be in the store.")
]
From = Annotated[
    str | None,
    typer.Option("--from", help="Run this stage and all that need it; the rest must be in the store."),
]
Until = Annotated[
    str | None, typer.Option("--until", help="Run this stage and the stages it needs, none after it.")
]


def register(app: typer.Typer) -> None:
    """Adds the commands to the application."""
    for name, command in (
        ("run", run),
        ("plan", plan),
        ("check", check),
        ("schema", schema),
        ("compile", compile_),
        ("adopt", adopt),
    ):
        app.command(name)(command)


def run(
    spec: options.SpecPath = options.DEFAULT_SPEC,
    profile: options.Profile = None,
    sets: options.Sets = None,
    store: options.StoreUri = None,
    only: Only = None,
    from_: From = None,
    until: Until = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Stages that run at once.")] = min(
        4, os.cpu_count() or 1
    ),
    as_json: options.Json = False,
) -> None:
    """Run the pipeline; stages whose inputs, configuration and code did not change are reused.

    Interrupting or killing it loses nothing: run it again and it goes on from the last checkpoint.
    """
    from rich.console import Console
    from rich.markup import escape

    from millrace.pipelines.cli.views.display import PLAIN_COLUMNS, display
    from millrace.pipelines.engines.local import LocalEngine
    from millrace.pipelines.spec import check as checks

    pipeline = checks.load(spec, profile=profile, sets=sets or (), store=store)
    planner = _planner(pipeline)
    selected = _selection(pipeline, only, from_, until)
    console = Console(stderr=as_json)
    if not console.is_terminal:
        console.width = PLAIN_COLUMNS
    for warning in checks.warnings(pipeline):
        console.print(f"[yellow]warning:[/] {escape(str(warning))}", highlight=False, soft_wrap=True)
    planner.previous()
    for note in planner.notes:
        console.print(f"[yellow]warning:[/] {escape(note)}", highlight=False, soft_wrap=True)
    with display(console) as shown:
        engine = LocalEngine(planner, shown, jobs=jobs, selected=selected)
        result = engine.run()
    if as_json:
        print(json.dumps(_result_json(result, planner)))
    else:
        _closing(console, result, planner, spec)
    raise typer.Exit(result.exit_code)


def plan(
    spec: options.SpecPath = options.DEFAULT_SPEC,
    profile: options.Profile = None,
    sets: options.Sets = None,
    store: options.StoreUri = None,
    as_json: options.Json = False,
) -> None:
    """Show for each stage whether it would be reused or run, and why; runs nothing."""
    from millrace.pipelines.spec import check as checks

    pipeline = checks.load(spec, profile=profile, sets=sets or (), store=store)
    planner = _planner(pipeline)
    steps = planner.plan()
    if as_json:
        print(json.dumps({"stages": [_plan_json(step) for step in steps], "warnings": planner.notes}))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("stage", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("about", justify="right", no_wrap=True)
    table.add_column("why", overflow="fold")
    from rich.markup import escape

    for step in steps:
        colour = "cyan" if step.action == "reuse" else "green"
        estimate = f"{step.estimate_seconds:.0f} s" if step.estimate_seconds is not None else ""
        why = "\n".join(
            [
                *step.reasons[:6],
                *([f"and {len(step.reasons) - 6} more (--json shows all)"] if len(step.reasons) > 6 else []),
            ]
        )
        table.add_row(step.name, f"[{colour}]{step.action}[/]", estimate, escape(why))
    console = Console()
    for note in planner.notes:
        console.print(f"[yellow]warning:[/] {escape(note)}", highlight=False, soft_wrap=True)
    console.print(table)
    running = [step for step in steps if step.action == "run"]
    known = [step.estimate_seconds for step in running if step.estimate_seconds is not None]
    about = f", about {sum(known):.0f} s" if known else ""
    console.print(f"\n{len(running)} to run{about}, {len(steps) - len(running)} reused", highlight=False)


def check(
    spec: options.SpecPath = options.DEFAULT_SPEC,
    profile: options.Profile = None,
    sets: options.Sets = None,
    as_json: options.Json = False,
) -> None:
    """Check the spec and every profile of it; report all mistakes at once."""
    from millrace.pipelines.spec import check as checks
    from millrace.pipelines.spec.source_map import SpecError

    pipeline = checks.load(spec, profile=profile, sets=sets or ())
    mistakes = list(checks.profiles(pipeline, spec)) if profile is None and not sets else []
    if mistakes:
        raise SpecError(mistakes)
    warnings = checks.warnings(pipeline)
    if as_json:
        print(
            json.dumps({"ok": True, "stages": list(pipeline.nodes), "warnings": [str(w) for w in warnings]})
        )
        return
    for warning in warnings:
        typer.echo(f"warning: {warning}")
    profiles = f", {len(pipeline.spec.profiles)} profiles" if pipeline.spec.profiles else ""
    typer.echo(f"{spec}: {len(pipeline.nodes)} stages{profiles}, no mistakes")


def schema() -> None:
    """Print the JSON Schema of specs, for editors: it completes and checks pipeline.yaml while you type."""
    from millrace.pipelines.spec import models as specs

    print(json.dumps(specs.schema(), indent=1))


def compile_(
    spec: options.SpecPath = options.DEFAULT_SPEC,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where to write the Kubeflow pipeline.")
    ] = Path("pipeline.kfp.yaml"),
    image: Annotated[
        str, typer.Option("--image", help="Container image that has millrace, best by digest.")
    ] = "millrace:latest",
    profile: options.Profile = None,
    sets: options.Sets = None,
    store: options.StoreUri = None,
) -> None:
    """Compile the pipeline to Kubeflow IR: one container component per stage."""
    from millrace.pipelines.engines import kfp
    from millrace.pipelines.spec import check as checks

    pipeline = checks.load(spec, profile=profile, sets=sets or (), store=store)
    kfp.compile_pipeline(pipeline, output, image=image)
    typer.echo(f"{output}: {len(pipeline.nodes)} container components")


def adopt(
    stage: Annotated[str, typer.Argument(help="The stage whose latest outputs to accept.")],
    spec: options.SpecPath = options.DEFAULT_SPEC,
    profile: options.Profile = None,
    sets: options.Sets = None,
    store: options.StoreUri = None,
    as_json: options.Json = False,
) -> None:
    """Accept a stage's existing outputs although its code changed; the record says so."""
    from millrace.pipelines.plan.adopt import adopt_stage
    from millrace.pipelines.spec import check as checks

    pipeline = checks.load(spec, profile=profile, sets=sets or (), store=store)
    record = adopt_stage(_planner(pipeline), stage)
    if as_json:
        print(json.dumps({"stage": stage, "key": record.key, "adopted_from": record.adopted_from}))
    else:
        typer.echo(f"{stage}: adopted the outputs of {(record.adopted_from or '')[:12]} for the changed code")


def _planner(pipeline: Pipeline) -> Planner:
    from millrace.pipelines.plan.plan import Planner
    from millrace.pipelines.store.store import Store

    return Planner(pipeline, Store(pipeline.store_uri, pipeline.store_timeout_seconds))


def _selection(
    pipeline: Pipeline, only: list[str] | None, from_: str | None, until: str | None
) -> set[str] | None:
    from millrace.pipelines.spec.graph import ancestors, descendants
    from millrace.pipelines.spec.models import closest
    from millrace.pipelines.spec.source_map import Mistake, SpecError

    for option, name in (*(("--only", name) for name in only or ()), ("--from", from_), ("--until", until)):
        if name is not None and name not in pipeline.nodes:
            message = f"the spec has no stage {name!r}{closest(name, list(pipeline.nodes))}"
            raise SpecError([Mistake(option, "", message)])
    selected = set(only) if only else set(pipeline.nodes)
    if from_ is not None:
        selected &= {from_, *descendants(pipeline.nodes, from_)}
    if until is not None:
        selected &= {until, *ancestors(pipeline.nodes, until)}
    return selected if only or from_ or until else None


def _plan_json(step: StagePlan) -> dict[str, Any]:
    return {
        "stage": step.name,
        "action": step.action,
        "reasons": list(step.reasons),
        "key": step.identity.key if step.identity else None,
        "estimate_seconds": step.estimate_seconds,
    }


def _result_json(result: RunResult, planner: Planner) -> dict[str, Any]:
    stages: dict[str, Any] = {}
    for name, outcome in result.outcomes.items():
        record = outcome.record
        stages[name] = {
            "status": outcome.status,
            "seconds": round(outcome.seconds, 3),
            "reasons": list(outcome.reasons),
            "message": outcome.message,
            "key": record.key if record else None,
            "outputs": {port: output["digest"] for port, output in record.outputs.items()} if record else {},
            "metrics": record.metrics if record else {},
            "peak_bytes": record.peak_bytes if record else None,
        }
    package = _package(result)
    return {
        "run": result.run,
        "status": result.status,
        "exit_code": result.exit_code,
        "seconds": round(result.seconds, 3),
        "package": str(planner.store.folder(package)) if package else None,
        "stages": stages,
    }


def _closing(console: Console, result: RunResult, planner: Planner, spec: Path) -> None:
    from rich.markup import escape

    from millrace.components.reports.figures import size
    from millrace.pipelines.cli.views.display import table

    console.print()
    console.print(table(result, console.width))
    counts: Mapping[str, int] = {
        status: sum(outcome.status == status for outcome in result.outcomes.values())
        for status in ("ran", "reused", *(("skipped",) if result.status != "done" else ()))
    }
    peak = size(
        max((outcome.record.peak_bytes for outcome in result.outcomes.values() if outcome.record), default=0)
    )
    parts = ", ".join(f"{number} {status}" for status, number in counts.items() if number)
    console.print(
        f"\nrun {result.run}: {result.status} in {result.seconds:.1f} s ({parts or 'nothing ran'}), at most {peak} a stage",
        highlight=False,
    )
    for outcome in result.outcomes.values():
        if outcome.message and outcome.status in ("failed", "closed"):
            title = "gate closed" if outcome.status == "closed" else "failed"
            console.print(
                f"\n[bold red]{outcome.name} {title}:[/] {escape(outcome.message)}",
                highlight=False,
                soft_wrap=True,
            )
    if result.status in ("failed", "closed"):
        untouched = [
            outcome for outcome in result.outcomes.values() if outcome.status == "skipped" and outcome.message
        ]
        for outcome in untouched[:3]:
            console.print(f"{outcome.name}: {escape(outcome.message or '')}", highlight=False, soft_wrap=True)
    if result.status == "interrupted":
        console.print("Run the same command again: it goes on from here.")
    package = _package(result)
    if package:
        folder = planner.store.folder(package)
        shown = os.path.relpath(folder)
        where = "" if spec == options.DEFAULT_SPEC else f" --spec {spec}"
        console.print(f"\npackage     {shown}", highlight=False, soft_wrap=True)
        console.print(f"model card  {shown}/MODEL_CARD.md", highlight=False, soft_wrap=True)
        program = _program()
        console.print("\nnext:", highlight=False)
        for command, what in (
            (f"{program} chat{where}", "talk to the model"),
            (f"{program} serve{where}", "serve it with the OpenAI routes"),
            (f"{program} plan --set stages.sft.with.epochs=2", "what would rerun, and why"),
            (f"{program} trace text 'Apache License'", "where a text came from and what became of it"),
        ):
            console.print(f"  {command:<58} [dim]{what}[/]", highlight=False, soft_wrap=True)


def _program() -> str:
    """How this program can be called from here: by name where that finds it, else by its path."""
    called = os.path.abspath(sys.argv[0])
    if os.path.basename(called) != "millrace" or shutil.which("millrace") == called:
        return "millrace"
    return os.path.relpath(called)


def _package(result: RunResult) -> str | None:
    """Digest of the package that the run ends with."""
    for outcome in result.outcomes.values():
        for output in (outcome.record.outputs if outcome.record else {}).values():
            if output["kind"] == "package":
                return str(output["digest"])
    return None
