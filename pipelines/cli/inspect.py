"""Commands that show what happened and what there is: runs, show, logs, diff, components, models."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options
from .stores import open_store, open_store_of

if TYPE_CHECKING:
    from millrace.pipelines.store.store import Store


def register(app: typer.Typer) -> None:
    """Adds the commands to the application."""
    for name, command in (
        ("runs", runs),
        ("show", show),
        ("logs", logs),
        ("diff", diff),
        ("components", components),
        ("models", models),
    ):
        app.command(name)(command)


def runs(
    spec: options.SpecPath = options.DEFAULT_SPEC,
    store: options.StoreUri = None,
    as_json: options.Json = False,
) -> None:
    """List runs, newest last: outcome, duration, stages that ran."""
    from millrace.pipelines.store.errors import StoreError

    opened = open_store(spec, store)
    rows, problems = list[dict[str, Any]](), list[str]()
    for run in opened.run_ids():
        try:
            state = opened.read_run(run)
        except StoreError as error:
            problems.append(str(error))
            continue
        if state:
            rows.append(state)
    if as_json:
        print(json.dumps({"runs": rows, "problems": problems}))
        return
    for problem in problems:
        typer.echo(f"warning: {problem}", err=True)
    for row in rows:
        statuses = [stage["status"] for stage in row["stages"].values()]
        what = ", ".join(
            f"{statuses.count(word)} {word}"
            for word in ("ran", "reused", "failed", "closed", "interrupted", "skipped")
            if word in statuses
        )
        seconds = row["updated"] - row["started"]
        status = row["status"] if row["status"] != "running" else "killed or running"
        typer.echo(f"{row['id']}  {row['pipeline']:<16} {status:<11} {seconds:>8.1f} s  {what}")
    if not rows:
        typer.echo("no runs yet")


def show(
    what: Annotated[
        str,
        typer.Argument(
            metavar="RUN|STAGE|DIGEST",
            help="A run, a stage of the latest run, or an artifact (first digits do).",
        ),
    ],
    spec: options.SpecPath = options.DEFAULT_SPEC,
    store: options.StoreUri = None,
    as_json: options.Json = False,
) -> None:
    """Show one run, stage or artifact: configuration, inputs, outputs, metrics, files."""
    from millrace.components.contract import ComponentError

    opened, pipeline = open_store_of(spec, store)
    value = _find(opened, what, pipeline)
    if value is None:
        raise ComponentError(
            f"got {what!r}, expected a run id, a stage of the latest run, or the first digits of an artifact; see `millrace runs` and `millrace store ls`"
        )
    if as_json:
        print(json.dumps(value))
        return
    import yaml

    value = {
        key: item for key, item in value.items() if key not in ("modules", "lineage", "fingerprint", "format")
    }
    typer.echo(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110).rstrip())


def logs(
    stage: Annotated[str, typer.Argument(help="The stage.")],
    spec: options.SpecPath = options.DEFAULT_SPEC,
    store: options.StoreUri = None,
    run: Annotated[
        str | None, typer.Option("--run", help="The run; the latest that ran the stage when left out.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Keep printing while the stage runs.")
    ] = False,
) -> None:
    """Print a stage's log."""
    from millrace.components.contract import ComponentError

    opened, pipeline = open_store_of(spec, store)
    for name in [run] if run else _newest_first(opened, pipeline):
        data = opened.backend.read(f"runs/{name}/logs/{stage}.log")
        if data is None:
            continue
        typer.echo(f"# run {name}")
        typer.echo(data.decode("utf-8", "replace").rstrip() or "(empty)")
        if follow and opened.is_local:
            _follow(opened, name, stage, len(data))
        return
    raise ComponentError(
        f"no run has a log of {stage!r}; `millrace runs` lists the runs, a reused stage has none"
    )


def diff(
    first: Annotated[str, typer.Argument(metavar="RUN", help="The earlier run.")],
    second: Annotated[str, typer.Argument(metavar="RUN", help="The later run.")],
    spec: options.SpecPath = options.DEFAULT_SPEC,
    store: options.StoreUri = None,
    as_json: options.Json = False,
) -> None:
    """Show the differences between two runs: configuration, code, inputs, outputs and metrics, stage by stage."""
    from millrace.components.contract import ComponentError
    from millrace.pipelines.plan.code_identity import changes
    from millrace.pipelines.plan.differences import differences

    opened = open_store(spec, store)
    states = []
    for name in (first, second):
        matches = [run for run in opened.run_ids() if run.startswith(name)]
        if len(matches) != 1:
            raise ComponentError(
                f"got {name!r}, which matches {len(matches)} runs, expected one; `millrace runs` lists them"
            )
        state = opened.read_run(matches[0])
        if state is None:
            raise ComponentError(f"the run {matches[0]} has no run.json: it was ended before it began")
        states.append(state)
    report: dict[str, Any] = {}
    for stage in dict.fromkeys([*states[0]["stages"], *states[1]["stages"]]):
        old, new = (_record(opened, state, stage) for state in states)
        if old is None or new is None:
            report[stage] = [
                f"{'not in the first' if old is None else 'not in the second'} run, or not finished"
            ]
            continue
        if old["key"] == new["key"]:
            continue
        lines = [f"config {line}" for line in differences(old["config"], new["config"])]
        lines += [f"code {line}" for line in changes(old["modules"], new["modules"])]
        for part in ("seed", "fingerprint", "inputs", "metrics"):
            lines += [
                f"{part} {line}".replace("seed  ", "seed ") for line in differences(old[part], new[part])
            ]
        same = [port for port, output in new["outputs"].items() if old["outputs"].get(port) == output]
        lines += [f"output {port}: the same bytes" for port in same]
        lines += [f"output {port}: other bytes" for port in new["outputs"] if port not in same]
        report[stage] = lines
    if as_json:
        print(json.dumps({"runs": [state["id"] for state in states], "stages": report}))
        return
    for stage, lines in report.items():
        typer.echo(f"{stage}")
        for line in lines:
            typer.echo(f"  {line}")
    if not report:
        typer.echo("the same stages with the same keys")


def components(
    name: Annotated[str | None, typer.Argument(help="A component to explain.")] = None,
    as_json: options.Json = False,
) -> None:
    """List the components, or explain one: its ports and every field of its configuration."""
    from millrace.components import registry
    from millrace.components.contract import ComponentError
    from millrace.pipelines.spec.models import closest

    if name is None:
        items = [registry.get(word) for word in registry.names()]
        if as_json:
            print(
                json.dumps({"components": [{"name": item.name, "summary": item.summary} for item in items]})
            )
            return
        for item in items:
            typer.echo(f"{item.name:<16} {item.summary}")
        typer.echo("\n`millrace components NAME` explains one.")
        return
    if name not in registry.COMPONENTS:
        raise ComponentError(f"there is no component {name!r}{closest(name, registry.names())}")
    item = registry.get(name)
    if as_json:
        ports = {
            side: {
                port: {
                    "kind": value.kind,
                    "summary": value.summary,
                    "optional": value.optional,
                    "many": value.many,
                }
                for port, value in values.items()
            }
            for side, values in (("inputs", item.inputs), ("outputs", item.outputs))
        }
        print(
            json.dumps(
                {
                    "name": item.name,
                    "summary": item.summary,
                    **ports,
                    "config": item.config.model_json_schema(by_alias=True),
                }
            )
        )
        return
    from millrace.pipelines.spec.explain import explain_component

    typer.echo(explain_component(item))


def models(
    vocab_size: Annotated[
        int | None, typer.Option(min=1, help="Token ids, in place of each preset's usual number.")
    ] = None,
    devices: Annotated[
        int, typer.Option(min=1, help="Devices that weights and moments are spread over.")
    ] = 1,
    rows: Annotated[int, typer.Option(min=1, help="Rows of the batch on each device.")] = 1,
    sequence_length_tokens: Annotated[
        int | None, typer.Option(min=1, help="Length of a row, in place of each preset's longest.")
    ] = None,
    compute_dtype: Annotated[str, typer.Option(help="bfloat16 or float32.")] = "bfloat16",
    as_json: options.Json = False,
) -> None:
    """List model presets: parameters, work per token, and memory of a device while it trains.

    Memory is for AdamW in float32 with layers recomputed (remat: full) and a flash attention kernel.
    """
    from millrace.model.network.presets import PRESETS, training_memory

    found: list[dict[str, Any]] = []
    for name, preset in PRESETS.items():
        try:
            config = replace(preset, vocab_size=vocab_size or preset.vocab_size, compute_dtype=compute_dtype)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
        length = sequence_length_tokens or config.max_sequence_tokens
        memory = training_memory(config, rows, length, shards=devices)
        found.append(
            {
                "preset": name,
                "vocab_size": config.vocab_size,
                "parameters": config.parameter_count(),
                "active_parameters": config.active_parameter_count(),
                "sequence_length_tokens": length,
                "flops_per_token": config.flops_per_token(length),
                "memory_bytes": {**asdict(memory), "total": memory.total},
            }
        )
    if as_json:
        print(json.dumps({"models": found}))
        return
    typer.echo(
        f"{'preset':<12}{'vocabulary':>11}{'parameters':>12}{'active':>9}{'length':>8}{'FLOP/token':>12}{'GiB/device':>12}"
    )
    for row in found:
        typer.echo(
            f"{row['preset']:<12}{row['vocab_size']:>11,}{_short(row['parameters']):>12}"
            f"{_short(row['active_parameters']):>9}{row['sequence_length_tokens']:>8,}"
            f"{_short(row['flops_per_token']):>12}{row['memory_bytes']['total'] / 2**30:>12.2f}"
        )
    typer.echo("\nIn a spec: pretrain.with.model: {preset: NAME}, with any size beside it to change it.")


def _short(value: int) -> str:
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if value >= size:
            return f"{value / size:.2f} {unit}"
    return f"{value:,}"


def _newest_first(store: Store, pipeline: str | None) -> Iterator[str]:
    """The runs of a pipeline, or of all where it is None."""
    for run in reversed(store.run_ids()):
        if pipeline in (None, (store.read_run(run) or {}).get("pipeline")):
            yield run


def _find(store: Store, what: str, pipeline: str | None) -> dict[str, Any] | None:
    found = [run for run in store.run_ids() if run == what or (len(what) > 8 and run.startswith(what))]
    if len(found) == 1:
        state = store.read_run(found[0])
        return dict(state) if state else None
    for run in _newest_first(store, pipeline):
        record = _record(store, store.read_run(run), what)
        if record is not None:
            return record
    if len(what) >= 4 and all(character in "0123456789abcdef" for character in what):
        digests = store.find(what)
        if len(digests) == 1:
            return {**(store.manifest(digests[0]) or {}), "folder": str(store.folder(digests[0]))}
    return None


def _record(store: Store, state: Any, stage: str) -> dict[str, Any] | None:
    key = ((state or {}).get("stages", {}).get(stage) or {}).get("key")
    record = store.record(key) if key else None
    return json.loads(record.to_json()) if record else None


def _follow(store: Store, run: str, stage: str, offset: int) -> None:
    path = Path(store.run_folder(run)) / "logs" / f"{stage}.log"
    while True:
        with path.open("rb") as handle:
            handle.seek(offset)
            data = handle.read()
        if data:
            typer.echo(data.decode("utf-8", "replace"), nl=False)
            offset += len(data)
        state = store.read_run(run) or {}
        if state.get("status") != "running":
            return
        time.sleep(0.5)
