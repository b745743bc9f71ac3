"""Configuration and ports of ``train_classifier``."""

from __future__ import annotations

import json
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from millrace.components.contract import Component, Config, Port

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
LEAST_EXAMPLES = 20


class Label(Config):
    """The documents that carry a label: those of some sources, or with some values of a metadata field."""

    sources: tuple[str, ...] = Field(default=(), description="Sources whose documents all carry it.")
    field: str | None = Field(
        default=None, description="Field of the documents' metadata that holds a label."
    )
    values: tuple[str | bool | int | float, ...] = Field(
        default=(), description="Values of the field that mean it."
    )

    @model_validator(mode="after")
    def _says_how(self) -> Label:
        if bool(self.sources) == (self.field is not None) or (self.field is None) == bool(self.values):
            raise ValueError("got neither or both of sources and field with values, expected one of the two")
        return self

    def holds(self, source: str, metadata: str) -> bool:
        """Whether a document carries the label."""
        if self.sources:
            return source in self.sources
        found = json.loads(metadata).get(self.field)
        return any(type(found) is type(value) and found == value for value in self.values)


class TrainClassifierConfig(Config):
    """The labels to tell apart, and how."""

    name: Name = Field(description="The property it judges; filters refer to the classifier by it.")
    positive: Label = Field(description="Documents with the positive label.")
    negative: Label = Field(description="Documents with the negative label.")
    max_examples: int = Field(default=20_000, ge=LEAST_EXAMPLES, description="Most documents of each label.")
    max_words: int = Field(default=512, ge=8, le=10_000, description="Words of each document that count.")
    bits: int = Field(
        default=20, ge=10, le=26, description="Features hash into two to the power of this many buckets."
    )
    epochs: int = Field(default=4, ge=1, le=100, description="Passes over the training documents.")
    batch_size: int = Field(default=64, ge=1, le=4096, description="Documents per step.")
    held_out_fraction: float = Field(
        default=0.3,
        gt=0.0,
        lt=0.9,
        description="Share of documents that calibrates (a half) and tests (the other).",
    )

    @model_validator(mode="after")
    def _labels_exclude_each_other(self) -> TrainClassifierConfig:
        one, other = self.positive, self.negative
        both = sorted({*one.sources} & {*other.sources})
        if one.field == other.field:
            typed = [{(type(value), value) for value in label.values} for label in (one, other)]
            both += sorted(repr(value) for _, value in typed[0] & typed[1])
        if both:
            raise ValueError(
                f"got {', '.join(both)} with both labels, expected labels that exclude each other"
            )
        return self


COMPONENT = Component(
    name="train_classifier",
    summary="Trains a text classifier (quality, safety, any) on labelled documents, for filters to use.",
    config=TrainClassifierConfig,
    inputs={"documents": Port("documents", "Documents that carry the labels.")},
    outputs={
        "classifier": Port("classifier", "The classifier, calibrated."),
        "report": Port("report", "How well it tells held-out documents apart, and examples."),
    },
    run="millrace.components.train_classifier.stage:run",
    key_metric="area_under_curve",
)
