"""Reading the artifacts of other stages: their rows, their reports, and whether they share a vocabulary."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from millrace.data.examples import json_lines

from .contract import Artifact, ComponentError


def check_vocabulary(component: str, token_ids: Mapping[str, int]) -> None:
    """Refuses parts with different numbers of token ids: each would read the others' ids as other text.

    Args:
        component: Named in the error.
        token_ids: Size of the vocabulary of each part: ``{"the model": 8192, "the tokenizer": 8192}``.

    Raises:
        ComponentError: They differ.
    """
    if len(set(token_ids.values())) > 1:
        got = ", ".join(f"{size} token ids in {part}" for part, size in token_ids.items())
        raise ComponentError(f"{component}: got {got}, expected as many in each; take all from one pipeline")


def read_report(artifact: Artifact) -> dict[str, Any]:
    """The ``report.json`` of a report."""
    report: dict[str, Any] = json.loads((artifact.path / "report.json").read_text(encoding="utf-8"))
    return report


def read_rows(component: str, path: Path) -> Iterator[tuple[str, Any]]:
    """Rows of a JSON Lines file as ``file:line`` and value.

    Raises:
        ComponentError: A line is no JSON.
    """
    try:
        yield from json_lines.rows(path)
    except ValueError as error:
        raise ComponentError(f"{component}: {error}") from None
