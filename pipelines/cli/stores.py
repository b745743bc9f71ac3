"""Commands that look after a store: ls, verify, gc, reindex."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options

if TYPE_CHECKING:
    from pathlib import Path

    from millrace.pipelines.store.store import Store

store_app = typer.Typer(
    help="List, verify, delete and index the artifacts of the store.", no_args_is_help=True
)


def register(app: typer.Typer) -> None:
    """Adds the group to the application."""
    app.add_typer(store_app, name="store")


@store_app.command("ls")
def list_artifacts(
    spec: options.SpecPath = options.DEFAULT_SPEC,
    store: options.StoreUri = None,
    kind: Annotated[str | None, typer.Option("--kind", help="Only artifacts of this kind.")] = None,
    as_json: options.Json = False,
) -> None:
    """List artifacts: digest, kind, size, and the stage and run that made them."""
    from millrace.components.reports.figures import size
    from millrace.pipelines.store.errors import StoreError

    opened = open_store(spec, store)
    rows = []
    problems = []
    for digest in opened.artifacts():
        try:
            manifest = opened.manifest(digest)
        except StoreError as error:
            problems.append(str(error))
            continue
        if manifest and (kind is None or manifest["kind"] == kind):
            total = sum(file["bytes"] for file in manifest["files"].values())
            producer = manifest["producer"]
            rows.append(
                {
                    "digest": digest,
                    "kind": manifest["kind"],
                    "bytes": total,
                    "stage": producer["stage"],
                    "port": producer["port"],
                    "run": producer["run"],
                }
            )
    rows.sort(key=lambda row: (row["run"], row["stage"], row["port"]))
    if as_json:
        print(json.dumps({"store": opened.uri, "artifacts": rows, "problems": problems}))
        return
    for problem in problems:
        typer.echo(f"warning: {problem}", err=True)
    for row in rows:
        typer.echo(
            f"{row['digest'][:12]}  {row['kind']:<14} {size(row['bytes']):>9}  {row['stage']}.{row['port']:<12}  {row['run']}"
        )
    typer.echo(f"{len(rows)} artifacts, {size(sum(row['bytes'] for row in rows))} in {opened.uri}")


@store_app.command("verify")
def verify(
    spec: options.SpecPath = options.DEFAULT_SPEC,
    store: options.StoreUri = None,
    as_json: options.Json = False,
) -> None:
    """Read everything again and compare it with what was written; exit code 1 if anything is damaged."""
    from millrace.pipelines.index import lineage
    from millrace.pipelines.store import maintenance

    opened = open_store(spec, store)
    damage = [*maintenance.verify(opened), *lineage.damage(opened)]
    count = sum(1 for _ in opened.artifacts())
    if as_json:
        print(
            json.dumps({"store": opened.uri, "artifacts": count, "damage": [vars(item) for item in damage]})
        )
    else:
        for item in damage:
            typer.echo(f"{item.path}: {item.problem}; {item.remedy}")
        said = f"{len(damage)} problems" if damage else "all sound"
        typer.echo(f"{count} artifacts read, {said}")
    raise typer.Exit(1 if damage else 0)


@store_app.command("gc")
def collect(
    spec: options.SpecPath = options.DEFAULT_SPEC,
    store: options.StoreUri = None,
    keep_runs: Annotated[
        int,
        typer.Option("--keep-runs", min=0, help="Newest runs of each pipeline to keep, with all they use."),
    ] = 3,
    grace_minutes: Annotated[
        float,
        typer.Option(
            "--grace-minutes",
            min=0,
            help="Keep whatever no run's record names for this long after it was written.",
        ),
    ] = 60,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    as_json: options.Json = False,
) -> None:
    """Free space: remove artifacts that the newest runs do not use."""
    from millrace.components.reports.figures import size
    from millrace.pipelines.store import maintenance

    opened = open_store(spec, store)
    freed = maintenance.collect(opened, keep_runs, dry_run=dry_run, grace_seconds=60 * grace_minutes)
    if as_json:
        print(json.dumps({"store": opened.uri, "dry_run": dry_run, **vars(freed)}))
        return
    verb = "would remove" if dry_run else "removed"
    typer.echo(
        f"{verb} {len(freed.runs)} runs, {len(freed.records)} stage records, {len(freed.artifacts)} artifacts, "
        f"{len(freed.work)} work folders: {size(freed.bytes)}"
    )


@store_app.command("reindex")
def reindex(
    spec: options.SpecPath = options.DEFAULT_SPEC,
    store: options.StoreUri = None,
    as_json: options.Json = False,
) -> None:
    """Build the lineage index again from the manifests, which are the truth."""
    from millrace.pipelines.index import lineage

    counts = lineage.reindex(open_store(spec, store))
    print(json.dumps(counts) if as_json else ", ".join(f"{number} {name}" for name, number in counts.items()))


def open_store(spec: Path, store: str | None) -> Store:
    """The store that the options name: --store, or the spec's.

    Raises:
        StoreError: It is a local folder that does not exist.
    """
    from pathlib import Path

    from millrace.pipelines.store.errors import StoreError
    from millrace.pipelines.store.store import Store

    uri = store if store is not None else _store_of(spec)
    if "://" not in uri and not Path(uri).is_dir():
        raise StoreError(f"there is no store at {uri}; `millrace run` makes it, --store names another")
    return Store(uri, _timeout_of(spec))


def open_store_of(spec: Path, store: str | None) -> tuple[Store, str | None]:
    """The store that the options name, and the spec's pipeline when the store is the spec's.

    Only the spec's name and store are read: a question about the past must not fail because the spec was broken
    since, nor wait for every component to be imported.
    """
    if store is not None:
        return open_store(spec, store), None
    name, uri = name_and_store(spec)
    if name is None or uri is None:
        return open_store(spec, None), None
    return open_store(spec, uri), name


def name_and_store(spec: Path) -> tuple[str | None, str | None]:
    """A spec's name and where its store is; None for what cannot be read, whatever else is wrong with the spec."""
    data = _values(spec)
    if data is None:
        return None, None
    name, uri = data.get("name"), data.get("store", ".millrace")
    if isinstance(uri, str) and "://" not in uri:
        uri = str(spec.absolute().parent / uri)
    return name if isinstance(name, str) else None, uri if isinstance(uri, str) else None


def _timeout_of(spec: Path) -> float:
    """How long a spec tries its store again; the default where it does not say so."""
    from millrace.pipelines.spec.durations import seconds
    from millrace.pipelines.store.store import TIMEOUT_SECONDS

    try:
        return seconds((_values(spec) or {})["store_timeout"])
    except (KeyError, TypeError, ValueError, IndexError):
        return TIMEOUT_SECONDS


def _values(spec: Path) -> dict[str, Any] | None:
    """A spec's values, whatever is wrong with them; None when they cannot be read."""
    from millrace.pipelines.spec.source_map import SpecError, parse

    try:
        data = parse(spec.read_text(encoding="utf-8"), str(spec)).data
    except (OSError, UnicodeDecodeError, SpecError):
        return None
    return data if isinstance(data, dict) else None


def _store_of(spec: Path) -> str:
    from millrace.pipelines.spec import models as specs

    return specs.load(spec).store_uri
