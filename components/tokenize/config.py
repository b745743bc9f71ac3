"""Configuration and ports of ``tokenize``."""

from __future__ import annotations

from pydantic import Field

from millrace.components.contract import Component, Config, Port, runtime


class TokenizeConfig(Config):
    """How documents are encoded."""

    min_tokens: int = Field(default=1, ge=1, description="Fewest tokens that the whole output may have.")
    threads: int = runtime(
        2, ge=1, le=256, description="Threads per shard where SentencePiece itself has to encode."
    )


COMPONENT = Component(
    name="tokenize",
    summary="Encodes documents into one token stream per source, with document offsets.",
    config=TokenizeConfig,
    inputs={
        "documents": Port("documents", "What to encode."),
        "tokenizer": Port("tokenizer", "The vocabulary."),
    },
    outputs={"tokens": Port("tokens", "Token streams by source.")},
    run="millrace.components.tokenize.stage:run",
    key_metric="bytes_per_token",
)
