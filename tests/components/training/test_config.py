"""A training's configuration says what its model is, by name or by hand, and refuses what no run could do."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from pydantic import ValidationError

from millrace.components.training.config import ModelShape, Preset, PretrainConfig
from millrace.model.network.presets import PRESETS


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


def test_every_size_of_a_spec_is_the_models() -> None:
    """A shape that shares no value with the defaults reaches the model whole."""
    given = {
        "layers": 6,
        "model_size": 48,
        "heads": 6,
        "kv_heads": 3,
        "head_size": 10,
        "feed_forward_size": 80,
        "rope_base": 500.0,
        "activation": "silu",
        "compute_dtype": "bfloat16",
        "tied_embedding": False,
        "query_key_norm": True,
        "logit_soft_cap": 30.0,
        "local_window_tokens": 16,
        "global_every_layers": 3,
        "experts": 5,
        "experts_per_token": 3,
    }
    config = ModelShape.model_validate(given).model_config_for(100, 64)
    assert given == {name: getattr(config, name) for name in given}
    assert given.keys() == ModelShape.model_fields.keys() - {"preset"}
    assert not given.items() & ModelShape().model_dump().items()


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"heads": 4, "kv_heads": 3}, "heads is 4, expected a multiple of kv_heads"),
        ({"head_size": 9}, "head_size is 9, expected an even number"),
        ({"experts": 1}, "experts is 1, expected 0 or at least experts_per_token"),
        ({"layers": 4, "local_window_tokens": 8}, "layers is 4, expected a multiple of global_every_layers"),
    ],
)
def test_sizes_that_do_not_divide_are_refused_by_the_check(sizes: dict[str, int], message: str) -> None:
    """Without the vocabulary, so before anything runs."""
    with pytest.raises(ValidationError, match=message):
        ModelShape.model_validate(sizes)
