"""Lines of JSON that kernels read are those that Python reads."""

from __future__ import annotations

import json
import random
from pathlib import Path

from tests.data.sources.reading import contents


def test_a_line_of_json_that_kernels_read_is_what_python_reads(tmp_path: Path) -> None:
    draw = random.Random(5)
    strings = ["", "a", 'q"', "\\", "\n", "é", "水", "🦀", "\u2028", "/", "\x7f", "\x01"]
    rows = [
        {
            "text": "x" + "".join(draw.choices(strings, k=8)),
            "n": [draw.random(), {"a": None}],
            "b": draw.random() < 0.5,
        }
        for _ in range(300)
    ]
    written = [json.dumps(row, ensure_ascii=draw.random() < 0.5) for row in rows]
    (tmp_path / "a.jsonl").write_text("\n".join(written))
    assert contents(tmp_path / "a.jsonl") == ([row["text"] for row in rows], [])
