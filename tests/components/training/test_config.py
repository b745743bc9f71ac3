"""A training's configuration says what its model is, and refuses what no run could do."""

from __future__ import annotations

from typing import Any

from millrace.components.training.config import PretrainConfig


def config_of(**settings: Any) -> PretrainConfig:
    phases = [{"until_tokens": 4_096, "weights": {"a": 1}}]
    return PretrainConfig.model_validate({"phases": phases} | settings)


def test_the_model_is_as_the_last_phase_leaves_it() -> None:
    """The rotary base is that of the last phase, else the model's; the longest row is that of any."""
    phases = [
        {"until_tokens": 4_096, "sequence_length_tokens": 512, "weights": {"a": 1}},
        {"until_tokens": 8_192, "sequence_length_tokens": 64, "weights": {"a": 1}, "rope_base": 5e5},
    ]
    config = config_of(phases=phases, model={"rope_base": 2e4})
    assert config.rope_bases() == [2e4, 5e5]
    shape = config.model_shape(100)
    assert (shape.rope_base, shape.max_sequence_tokens, shape.vocab_size) == (5e5, 512, 100)
    assert config_of(phases=phases[:1], model={"rope_base": 2e4}).model_shape(100).rope_base == 2e4
