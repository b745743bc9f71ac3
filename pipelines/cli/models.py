"""``millrace models``: the named model shapes and what each costs, before a machine is rented."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Annotated, Any

import typer

from . import options


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command("models")(models)


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
