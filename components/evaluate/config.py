"""Configuration and ports of ``evaluate``."""

from __future__ import annotations

from pydantic import Field

from millrace.components.contract import Component, Config, Port


class EvaluateConfig(Config):
    """Settings of ``evaluate``."""

    chat_models: tuple[str, ...] = Field(
        default=(),
        description="Labels of models that get prompts as a user's turn; the others get plain text.",
    )
    benchmarks: tuple[str, ...] = Field(
        default=(), description="Names of the benchmarks to run; all when empty."
    )
    max_examples: int = Field(
        default=200, ge=1, description="Most examples of a multiple-choice or generation benchmark."
    )
    max_documents: int = Field(
        default=100, ge=1, description="Most documents per source of a text benchmark."
    )
    max_document_bytes: int = Field(
        default=2_048, ge=64, description="How much of a document's beginning counts for bits per byte."
    )
    max_new_tokens: int = Field(default=48, ge=1, description="Longest generated answer.")


COMPONENT = Component(
    name="evaluate",
    summary="Multiple choice, exact match and bits per byte for several models, with intervals and contamination.",
    config=EvaluateConfig,
    inputs={
        "models": Port("model", "Models by label; the last one gives the stage's own metrics.", many=True),
        "tokenizer": Port("tokenizer", "The models' tokenizer."),
        "benchmarks": Port("benchmarks", "What to score them on."),
        "contamination": Port(
            "report", "Report of decontaminate, for the share beside each score.", optional=True
        ),
    },
    outputs={"report": Port("report", "Scores as report.json and report.md.")},
    run="millrace.components.evaluate.stage:run",
    key_metric="accuracy",
)
