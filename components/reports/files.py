"""The JSON files that stages hand on, written in one way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def write_json(path: Path, value: Any, *, ascii: bool = True, keep_order: bool = False) -> None:
    """Writes a JSON file, the same bytes for the same value.

    Args:
        path: The file.
        value: Any value that ``json.dumps`` takes.
        ascii: Escape every other character. Reports that quote documents do not, so that they can be read.
        keep_order: Leave names as they come, where their order says something; else they are sorted.
    """
    text = json.dumps(value, indent=1, sort_keys=not keep_order, ensure_ascii=ascii)
    path.write_text(text + "\n", encoding="utf-8")
