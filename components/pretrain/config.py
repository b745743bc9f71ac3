"""Configuration and ports of ``pretrain``."""

from __future__ import annotations

from millrace.components.contract import Component, Port
from millrace.components.training.config import PretrainConfig
from millrace.components.training.mixture import proposed_weights
from millrace.components.training.settings import keeps_memory

COMPONENT = Component(
    name="pretrain",
    summary="Trains a decoder from scratch on staged mixtures of token streams.",
    config=PretrainConfig,
    inputs={
        "tokens": Port("tokens", "token streams by source"),
        "tokenizer": Port("tokenizer", "the tokenizer that made them"),
        "benchmarks": Port("benchmarks", "held-out text for bits per byte", optional=True),
        proposed_weights.PORT: Port("mixture", "weights for phases that say proposed", optional=True),
    },
    outputs={
        "model": Port("model", "the trained decoder"),
        "report": Port("report", "loss curve and held-out bits per byte"),
        "states": Port("states", "training states to begin a replay with, see keep_state_every_steps"),
    },
    run="millrace.components.pretrain.stage:run",
    key_metric="bits_per_byte",
    misfits=proposed_weights.misfits,
    several_hosts=True,
    keeps_memory=keeps_memory,
)
