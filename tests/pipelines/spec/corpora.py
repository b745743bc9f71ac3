"""A user's corpora, as ``init`` meets them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

WORDS = [
    "the",
    "mill",
    "and",
    "its",
    "wheel",
    "turn",
    "with",
    "water",
    "that",
    "falls",
    "to",
    "be",
    "stored",
    "in",
    "a",
    "pond",
    "of",
    "stone",
]


def prose(number: int, words: int = 120) -> str:
    """Different text for each number, which the filter's rules let pass."""
    picked = [
        WORDS[(number * 7 + at * (number % 5 + 1) + at // 7) % len(WORDS)]
        + (str(number) if at % 9 == 4 else "")
        for at in range(words)
    ]
    return " ".join(picked).capitalize() + ".\n\n" + " ".join(reversed(picked)) + "."


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def rows(count: int = 200, **more: Any) -> list[dict[str, Any]]:
    return [
        {"body": prose(n), "doc_id": f"d{n}", "title": f"No. {n}", "lang": "en", "license": "CC0-1.0", **more}
        for n in range(count)
    ]
