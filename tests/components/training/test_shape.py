"""Shapes by name in a spec: what stands beside a preset wins, and its names are those of the presets."""

from __future__ import annotations

from typing import get_args

import pytest
from pydantic import ValidationError

from millrace.components.training.shape import ModelShape, Preset
from millrace.model.network.presets import PRESETS


def test_the_spec_knows_every_preset() -> None:
    """The names that are written out, so that a spec is checked without the model's code, are all there are."""
    assert set(get_args(Preset)) == set(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_the_shape_that_is_listed(name: str) -> None:
    """Vocabulary and row length come from elsewhere; all else is the preset's, save what the spec changes."""
    preset = PRESETS[name]
    shape = ModelShape.model_validate({"preset": name})
    assert shape.model_config_for(preset.vocab_size, preset.max_sequence_tokens) == preset
    changed = ModelShape.model_validate({"preset": name, "layers": 3})
    assert (changed.layers, changed.model_size) == (3, preset.model_size)


def test_an_unknown_preset_is_refused_with_the_names_that_there_are() -> None:
    with pytest.raises(ValidationError, match="nano-2"):
        ModelShape.model_validate({"preset": "huge"})
