"""Settings that no answer could meet are refused by the check."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from millrace.components.rlhf.config import RlhfConfig


def test_some_length_has_to_fit() -> None:
    """The shortest answer may be the longest one, not longer."""
    RlhfConfig(min_answer_characters=5, max_answer_characters=5)
    with pytest.raises(ValidationError, match="min_answer_characters 9 and max_answer_characters 5"):
        RlhfConfig(min_answer_characters=9, max_answer_characters=5)


def test_one_answer_has_no_baseline() -> None:
    with pytest.raises(ValidationError, match="samples_per_prompt"):
        RlhfConfig(samples_per_prompt=1)
