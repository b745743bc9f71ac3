"""The configuration of ``train_tokenizer``: which control tokens there are, in the order of their ids."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from millrace.components.train_tokenizer.config import TrainTokenizerConfig
from millrace.data.tokenizer.tokenizer import CHAT_TOKENS


def test_control_tokens_stand_in_one_order() -> None:
    """Control tokens of chats come first, then modalities, named and reserved ones, so that ids stay when more are
    added.
    """
    config = TrainTokenizerConfig(modalities=("image",), control_tokens=("tool_call",), reserved_tokens=1)
    modality = ("<|image_begin|>", "<|image|>", "<|image_end|>")
    assert config.special == (*CHAT_TOKENS, *modality, "<|tool_call|>", "<|reserved_0|>")


@pytest.mark.parametrize(
    "wrong",
    [
        {"control_tokens": ("user",)},
        {"control_tokens": ("tool", "tool")},
        {"control_tokens": ("reserved_0",)},
        {"modalities": ("image",), "control_tokens": ("image_end",)},
    ],
)
def test_a_name_is_given_once(wrong: dict[str, Any]) -> None:
    """Two control tokens of one name would be one id with two meanings."""
    with pytest.raises(ValidationError, match="twice, expected different names"):
        TrainTokenizerConfig(**wrong)
