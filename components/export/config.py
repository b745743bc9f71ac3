"""Configuration and ports of ``export``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from millrace.components.contract import Component, Config, Port

USE = (
    "Research and teaching: to study how data, training and alignment choices show in a small language model, and as "
    "a test load for tools around one. Not for production, and not for advice of any kind."
)


class ExportConfig(Config):
    """Settings of ``export``."""

    name: str = Field(
        default="millrace-model",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}$",
        description="The model's name, which clients of the server use.",
    )
    license: str = Field(
        default="apache-2.0", min_length=1, description="Licence of the model, as the Hub spells it."
    )
    languages: tuple[str, ...] = Field(
        default=("en",), min_length=1, description="Languages, as two-letter tags."
    )
    intended_use: str = Field(
        default=USE, min_length=1, description="The card's section on the purpose of the model."
    )
    group_size: int = Field(default=32, ge=2, le=4096, description="Weights that share a 4-bit scale.")
    embedding_bits: Literal[4, 8] = Field(
        default=4, description="Bits of the embedding, which is also the output layer."
    )
    evaluated_as: str | None = Field(
        default=None, description="Label of this model in the evaluation; its stage's name when left out."
    )
    held_out_bytes: int = Field(
        default=65_536,
        ge=1024,
        description="Held-out text per source on which the loss of 4 bits is measured.",
    )
    max_loss_increase: float = Field(
        default=0.1, gt=0, description="Largest relative growth of bits per byte through 4 bits."
    )


COMPONENT = Component(
    name="export",
    summary="One package to ship: float32 and 4-bit weights, tokenizer, scores, model card, digests.",
    config=ExportConfig,
    inputs={
        "model": Port("model", "The model to ship."),
        "tokenizer": Port("tokenizer", "Its tokenizer."),
        "evaluation": Port("report", "Report of evaluate, for the card and the package.", optional=True),
        "gate": Port("report", "Report of the gate; must be open.", optional=True),
        "benchmarks": Port(
            "benchmarks", "Held-out text on which the loss of 4 bits is measured.", optional=True
        ),
        "documents": Port("documents", "Training documents, to count their licences.", optional=True),
    },
    outputs={"package": Port("package", "The folder that chat and serve load.")},
    run="millrace.components.export.stage:run",
    key_metric="bits_per_byte_increase",
    reads_lineage=True,
)
