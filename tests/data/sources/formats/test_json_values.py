"""JSON: an array or objects, and what is broken between them."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.data.sources.reading import contents


@pytest.mark.parametrize(
    "text", ['{"text": "a"}', '[{"text": "a"}]', '{"text":\n "a"}\n', ' [ {"text": "a"} ] \n']
)
def test_json_is_an_array_or_objects(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    assert contents(tmp_path / "a.json") == (["a"], [])


def test_json_goes_on_behind_what_is_broken(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"text": "a"}, {"text": b"}, 7, {"text": "c"}]')
    found, problems = contents(tmp_path / "a.json")
    assert found == ["a", "c"]
    assert len(problems) == 2 or len(problems) == 1
