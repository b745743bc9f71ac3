"""Configuration and ports of ``train_tokenizer``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from millrace.components.contract import Component, Config, Port

FIXED_IDS = 3 + 1 + 256  # padding, end of document and unknown; the tab; the bytes
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]


class TrainTokenizerConfig(Config):
    """How the vocabulary is trained."""

    vocab_size: int = Field(default=8_192, ge=300, le=2**20, description="Wanted number of token ids.")
    algorithm: Literal["unigram", "bpe"] = Field(default="unigram", description="SentencePiece's model type.")
    weights: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default_factory=dict,
        description="Source -> share of the sample; empty means in proportion to each source's bytes.",
    )
    language_alpha: float = Field(
        default=1.0,
        ge=0.0,
        le=1.0,
        description="Within a source, a language's share of the sample is its share of the bytes to this power: 1 as "
        "it comes, 0.3 to 0.7 for small languages, 0 all alike.",
    )
    sample_bytes: int = Field(default=4_000_000, ge=1_000, description="UTF-8 bytes of text to train on.")
    max_document_bytes: int = Field(
        default=65_536, ge=16, description="The most that one document gives to the sample."
    )
    character_coverage: float = Field(
        default=0.9995,
        ge=0.98,
        le=1.0,
        description="Share of characters with a token of their own; others are bytes.",
    )
    modalities: tuple[Name, ...] = Field(
        default=(),
        description="Names such as image: control tokens <|image_begin|>, <|image|> and <|image_end|>.",
    )
    control_tokens: tuple[Name, ...] = Field(
        default=(),
        description="Further control tokens by name, tool_call for <|tool_call|>; text never encodes to them.",
    )
    reserved_tokens: int = Field(
        default=8, ge=0, le=1_024, description="Control tokens kept free for later stages."
    )
    fertility_bytes: int = Field(
        default=200_000, ge=1, description="UTF-8 bytes per source on which fertility is measured."
    )
    compared_sizes: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        default=(0.25, 0.5),
        description="Parts of the vocabulary for which the report gives bytes per token; may be empty.",
    )

    @property
    def special(self) -> tuple[str, ...]:
        """All control tokens, in the order of their ids."""
        from millrace.data.tokenizer import tokenizer

        return (
            *tokenizer.CHAT_TOKENS,
            *tokenizer.modality_tokens(self.modalities),
            *(f"<|{name}|>" for name in self.control_tokens),
            *tokenizer.reserved_tokens(self.reserved_tokens),
        )

    @model_validator(mode="after")
    def _can_be_trained(self) -> TrainTokenizerConfig:
        if self.weights and not any(self.weights.values()):
            raise ValueError("got weights that are all 0, expected one above 0, or none at all")
        taken = ["system", "user", "assistant", "end", *self.control_tokens]
        taken += [f"{name}{part}" for name in self.modalities for part in ("_begin", "", "_end")]
        taken += [f"reserved_{index}" for index in range(self.reserved_tokens)]
        twice = sorted({name for name in taken if taken.count(name) > 1})
        if twice:
            raise ValueError(f"got the control tokens {', '.join(twice)} twice, expected different names")
        if self.vocab_size <= FIXED_IDS + len(taken):
            raise ValueError(
                f"got vocab_size {self.vocab_size}, expected more than the {FIXED_IDS + len(taken)} ids that control "
                "tokens, bytes and the tab take"
            )
        return self


COMPONENT = Component(
    name="train_tokenizer",
    summary="Trains a SentencePiece vocabulary with byte fallback on a weighted sample of the documents.",
    config=TrainTokenizerConfig,
    inputs={"documents": Port("documents", "The text to learn from.")},
    outputs={
        "tokenizer": Port("tokenizer", "The vocabulary, with its fertility per source."),
        "report": Port("report", "Fertility by source and language, smaller sizes, and the pieces in use."),
    },
    run="millrace.components.train_tokenizer.stage:run",
    key_metric="bytes_per_token",
)
