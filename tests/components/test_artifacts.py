"""Reading artifacts of other stages: errors name the stage, the parts and the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from millrace.components.artifacts import check_vocabulary, read_rows
from millrace.components.contract import ComponentError


def test_parts_share_a_vocabulary_or_are_all_named() -> None:
    """Equal sizes pass; with one that differs, each part is named with its size."""
    check_vocabulary("sft", {"the model": 300, "the tokenizer": 300})
    said = "rlhf: got 300 token ids in the policy, 300 token ids in the reward model, 299 token ids in the tokenizer"
    with pytest.raises(ComponentError, match=said):
        check_vocabulary("rlhf", {"the policy": 300, "the reward model": 300, "the tokenizer": 299})


def test_a_torn_row_is_the_stages_error(tmp_path: Path) -> None:
    """A line that is no JSON is an error of the stage that reads it, not a traceback."""
    (tmp_path / "train.jsonl").write_text('{"messages": []}\n{"mess')
    with pytest.raises(ComponentError, match=r"sft: train\.jsonl:2: got no JSON"):
        list(read_rows("sft", tmp_path / "train.jsonl"))
