"""Shared by stages that use a teacher: loading its weights, and checking that its distributions fit a training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from millrace.components.artifacts import check_vocabulary
from millrace.components.contract import ComponentError, Inputs
from millrace.components.training.mixture.phases import MixtureConfig
from millrace.components.training.mixture.reading import Reading
from millrace.model.network.config import ModelConfig
from millrace.model.network.decoder import Decoder
from millrace.model.package import weights


def load(
    component: str, inputs: Inputs, reading: Reading, config: MixtureConfig, top_k: int | None
) -> tuple[ModelConfig, Decoder]:
    """The teacher of the port ``teacher``.

    Raises:
        ComponentError: It has another vocabulary than the tokens or was trained on shorter rows than they come in, or
            ``top_k`` is more than its vocabulary.
    """
    folder = inputs.one("teacher").path
    shape = weights.load_config(folder)
    facts = folder / "training.json"
    trained_on = json.loads(facts.read_text("utf-8")).get("tokenizer_sha256") if facts.exists() else None
    wanted = reading.tokenizer.sha256
    check_vocabulary(component, {"the teacher": shape.vocab_size, "the tokens": reading.tokenizer.vocab_size})
    if trained_on != wanted:
        of = f"tokenizer {trained_on[:12]}" if trained_on else "no record of its tokenizer"
        raise ComponentError(
            f"{component}: got a teacher of {of}, and tokens of tokenizer {wanted[:12]}, expected the same: their "
            "distributions are compared id by id; tokenize with the teacher's tokenizer, or train the teacher on these "
            "tokens"
        )
    if config.longest_row_tokens() > shape.max_sequence_tokens:
        raise ComponentError(
            f"{component}: got rows of {config.longest_row_tokens()} tokens and a teacher of rows of at most "
            f"{shape.max_sequence_tokens}, expected no longer ones; lower sequence_length_tokens or take another teacher"
        )
    if top_k is not None and top_k > shape.vocab_size:
        raise ComponentError(
            f"{component}: got top_k {top_k} of a vocabulary of {shape.vocab_size}, expected at most all of it"
        )
    return weights.load(folder)


def made_for(
    config: MixtureConfig, reading: Reading, seed: int, tokens: str, temperature: float
) -> dict[str, Any]:
    """Everything that a teacher's stored distributions depend on, by name; JSON values.

    Args:
        config: The phases.
        reading: The plan of reading.
        seed: The seed that the order is drawn with.
        tokens: Digest of the token streams.
        temperature: Divisor of the teacher's logits.
    """
    facts: dict[str, Any] = {
        "tokens": tokens,
        "tokenizer": reading.tokenizer.sha256,
        "seed": seed,
        "packing": config.packing,
        "temperature": temperature,
        "phases": len(reading.mixture.phases),
    }
    sizes = config.batch_sizes()
    for number, (phase, rows) in enumerate(zip(reading.mixture.phases, sizes, strict=True)):
        facts[f"phases[{number}].until_tokens"] = phase.until_tokens
        facts[f"phases[{number}].sequence_length_tokens"] = phase.sequence_length_tokens
        facts[f"phases[{number}].weights"] = dict(phase.weights)
        facts[f"phases[{number}].batch_size"] = rows
    return facts


def check_made_for(component: str, recorded: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Compares what distributions were stored for with what reads them.

    Raises:
        ComponentError: They differ; it names the fields.
    """
    if wrong := [name for name in wanted if recorded.get(name) != wanted[name]]:
        found = "".join(
            f"\n  {name}: teacher_logits {recorded.get(name)!r}, this training {wanted[name]!r}"
            for name in wrong
        )
        raise ComponentError(
            f"{component}: got teacher_logits that were made for another training, expected the same order of the same "
            f"tokens; set these of both stages alike, or give them the same inputs:{found}"
        )
