"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SpecPath = Annotated[Path, typer.Argument(metavar="[SPEC]", help="The pipeline's file.", show_default=True)]
Profile = Annotated[str | None, typer.Option("--profile", "-p", help="A profile of the spec to lay over it.")]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-s",
        metavar="PATH=VALUE",
        help="Override one value, for example stages.pretrain.with.batch_size=8.",
    ),
]
StoreUri = Annotated[
    str | None, typer.Option("--store", help="Store to use instead of the spec's: a folder or an fsspec URI.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of text.")]

DEFAULT_SPEC = Path("pipeline.yaml")
