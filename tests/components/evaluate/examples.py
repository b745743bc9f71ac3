"""Examples of each type of benchmark."""

from __future__ import annotations

from typing import Any

CHOICES: list[dict[str, Any]] = [
    {
        "id": f"q{index}",
        "prompt": f"Find the {index}",
        "choices": ["a path", "a value", "x"],
        "answer": index % 3,
    }
    for index in range(30)
]
ANSWERS: list[dict[str, Any]] = [
    {"id": f"g{index}", "prompt": f"Set {index}", "answer": "The count."} for index in range(4)
]
TEXTS: list[dict[str, Any]] = [
    {
        "id": f"t{index}",
        "text": "Return the count of the items. " * (index + 1),
        "source": "code" if index % 2 else "docs",
    }
    for index in range(8)
]
