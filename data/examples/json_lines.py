"""Rows of the JSON Lines files that stages hand on: benchmarks, chats, preferences, prompts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def rows(path: Path) -> Iterator[tuple[str, Any]]:
    r"""Each row with its place.

    A line ends at ``\n`` alone: JSON leaves U+2028 and the other ends that ``str.splitlines`` knows as they are in text.

    Args:
        path: The file; blank lines are counted but give no rows.

    Returns:
        ``file:line``, from 1, and the value.

    Raises:
        ValueError: A line is no JSON in UTF-8; says where.
    """
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            place = f"{path.name}:{number}"
            try:
                row = json.loads(line.decode("utf-8"))
            except ValueError as error:
                raise ValueError(
                    f"{place}: got no JSON in UTF-8 ({error}), expected one value to a line"
                ) from None
            yield place, row
