"""An ablation's configuration refuses what cannot work, and a proxy is trained as it says."""

from __future__ import annotations

from typing import Any

import pytest

from millrace.components.ablate_mixture.config import AblateConfig
from millrace.components.training.config import ModelShape, TrainingConfig
from millrace.components.training.mesh import MeshConfig

CONFIG: dict[str, Any] = {"tokens": 4_096, "batch_size": 8, "samples": 7}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"samples": 0}, "no candidates and samples 0"),
        ({"candidates": [{"code": 0}]}, r"candidates\[0\] .* some weights above 0"),
        ({"objective": {"useful": -1, "code": 2}}, "objective .* none below"),
        ({"accumulate_steps": 3}, "accumulate_steps 3"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AblateConfig.model_validate(CONFIG | change)


def test_a_proxy_is_trained_with_every_setting_of_the_ablation() -> None:
    """Settings that share no value with the defaults; its one phase is the tokens and rows of a proxy."""
    settings: dict[str, Any] = {
        "model": ModelShape(layers=2),
        "packing": "documents",
        "batch_size": 6,
        "max_epochs": 3.0,
        "accumulate_steps": 2,
        "optimizer": "muon",
        "learning_rate": 0.5,
        "warmup_steps": 7,
        "decay": "cosine",
        "decay_fraction": 0.25,
        "final_fraction": 0.75,
        "weight_decay": 0.5,
        "beta2": 0.5,
        "clip_norm": 2.0,
        "z_loss": 0.125,
        "router_balance_loss": 0.25,
        "router_z_loss": 0.5,
        "capacity_factor": 1.5,
        "remat": "full",
        "unroll_layers": True,
        "held_out_bytes_per_source": 512,
        "on_non_finite": "skip",
        "max_skipped_steps": 3,
        "checkpoint_every_steps": 9,
        "log_every_steps": 11,
        "mesh": MeshConfig(data=2),
    }
    assert settings.keys() == TrainingConfig.model_fields.keys()
    config = AblateConfig.model_validate(
        settings | {"tokens": 1_000, "sequence_length_tokens": 32, "samples": 1}
    )
    proxy = config.proxy({"a": 2.0})
    assert {name: getattr(proxy, name) for name in settings} == settings
    assert not [name for name in settings if getattr(TrainingConfig(), name) == settings[name]]
    (phase,) = proxy.phases
    assert (phase.until_tokens, phase.sequence_length_tokens, phase.weights) == (1_000, 32, {"a": 2.0})
