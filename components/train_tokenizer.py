"""Trains the SentencePiece vocabulary on a sample of the corpus, weighted like the training mixture.

The sample's size decides the time, not the corpus: 4 MB give a stable vocabulary of 4,096 to 8,192 ids in about 10 s
on two cores, and doubling it changes bytes per token by less than 1%. Fertility is measured per source on the
documents that rank last for the sample, which is text that was not trained on unless the corpus is smaller than the
sample.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from .contract import Component, ComponentError, Config, Context, Inputs, Port


class TrainTokenizerConfig(Config):
    """How the vocabulary is trained."""

    vocab_size: int = Field(8_192, ge=300, le=2**20, description="Wanted number of token ids.")
    algorithm: Literal["unigram", "bpe"] = Field("unigram", description="SentencePiece's model type.")
    weights: dict[str, float] = Field(
        default_factory=dict,
        description="Source -> share of the sample; empty means in proportion to each source's bytes.",
    )
    sample_bytes: int = Field(4_000_000, ge=1_000, description="UTF-8 bytes of text to train on.")
    max_document_bytes: int = Field(
        65_536, ge=16, description="The most that one document gives to the sample."
    )
    character_coverage: float = Field(
        0.9995, gt=0.9, le=1.0, description="Share of characters with a token of their own; others are bytes."
    )
    reserved_tokens: int = Field(8, ge=0, le=1_024, description="Control tokens kept free for later stages.")
    fertility_bytes: int = Field(
        200_000, ge=1, description="UTF-8 bytes per source on which fertility is measured."
    )


def run(context: Context, config: TrainTokenizerConfig, inputs: Inputs) -> None:
    """Samples, trains, measures and writes the ``tokenizer`` artifact."""
    from ..data import text_sample, tokenizer, tokenizer_training

    folder = inputs.one("documents").path
    doc_ids, sources, sizes_bytes = _survey(folder)
    if not doc_ids:
        raise ComponentError("got no documents, expected text to train the vocabulary on")
    unknown = sorted(set(config.weights) - set(sources))
    if unknown:
        raise ComponentError(
            f"got weights for {', '.join(unknown)}, expected sources of the documents: {', '.join(sorted(set(sources)))}"
        )
    gives = [min(size, config.max_document_bytes) for size in sizes_bytes]
    available: dict[str, int] = {}
    for source, size in zip(sources, gives, strict=True):
        available[source] = available.get(source, 0) + size
    budgets = text_sample.allot(available, config.weights, config.sample_bytes)
    order = text_sample.ranks(doc_ids, context.seed)
    sample: dict[int, int] = {}
    probes: dict[str, dict[int, int]] = {}
    for source in sorted(available):
        own = [index for index in order if sources[index] == source]
        sample |= text_sample.choose(own, gives, budgets[source])
        probes[source] = text_sample.choose(own[::-1], gives, config.fertility_bytes)
    wanted = sample | {index: size for probe in probes.values() for index, size in probe.items()}
    texts = _read(folder, set(wanted))

    def part(index: int, limit_bytes: int) -> str:
        return text_sample.window(texts[index], limit_bytes, int(doc_ids[index][:8], 16))

    special = (*tokenizer.CHAT_TOKENS, *tokenizer.reserved_tokens(config.reserved_tokens))
    context.log.info("training on %d bytes of %d documents: %s", sum(sample.values()), len(sample), budgets)
    try:
        model = tokenizer_training.train(
            (part(index, sample[index]) for index in sorted(sample, key=doc_ids.__getitem__)),
            vocab_size=config.vocab_size,
            algorithm=config.algorithm,
            special=special,
            character_coverage=config.character_coverage,
        )
    except tokenizer_training.VocabularyError as error:
        raise ComponentError(
            f"got no vocabulary of {config.vocab_size} ids from {sum(sample.values())} bytes of text "
            f"({error}): change vocab_size or character_coverage, or give more text"
        ) from error
    made = tokenizer.Tokenizer(model, special)
    fertility = {
        source: tokenizer_training.fertility(made, [part(index, size) for index, size in probe.items()])
        for source, probe in probes.items()
        if probe
    }
    facts: dict[str, Any] = {
        "algorithm": config.algorithm,
        "sample_bytes": {source: budgets[source] for source in sorted(budgets)},
        "fertility": fertility,
    }
    tokenizer.write(context.output("tokenizer"), model, special, facts)
    for source, figures in fertility.items():
        context.metric(f"bytes_per_token.{source}", figures["bytes_per_token"])
    shares = {source: budgets[source] / sum(budgets.values()) for source in fertility}
    tokens_per_byte = sum(share / fertility[source]["bytes_per_token"] for source, share in shares.items())
    context.metric("bytes_per_token", 1 / tokens_per_byte)
    context.metric("vocab_size", made.vocab_size)
    context.metric("documents_in", len(doc_ids))
    context.metric("bytes_in", sum(sizes_bytes))
    if made.vocab_size < config.vocab_size:
        context.log.warning("the text gave only %d useful ids of %d", made.vocab_size, config.vocab_size)


def _survey(folder: Any) -> tuple[list[str], list[str], list[int]]:
    """Every document's id, source and size in bytes, in the artifact's order, without keeping its text."""
    import pyarrow.compute as pc

    from ..data import documents

    doc_ids: list[str] = []
    sources: list[str] = []
    sizes_bytes: list[int] = []
    for table in documents.read_shards(folder, ["doc_id", "source", "text"]):
        doc_ids += table["doc_id"].to_pylist()
        sources += table["source"].to_pylist()
        sizes_bytes += pc.binary_length(table["text"]).to_pylist()
    return doc_ids, sources, sizes_bytes


def _read(folder: Any, wanted: set[int]) -> dict[int, str]:
    """The texts of chosen documents by their index in the artifact's order."""
    from ..data import documents

    texts: dict[int, str] = {}
    first = 0
    for table in documents.read_shards(folder, ["text"]):
        rows = [row for row in range(table.num_rows) if first + row in wanted]
        for row, text in zip(rows, table["text"].take(rows).to_pylist() if rows else [], strict=True):
            texts[first + row] = text
        first += table.num_rows
    return texts


COMPONENT = Component(
    name="train_tokenizer",
    summary="Trains a SentencePiece vocabulary with byte fallback on a weighted sample of the documents.",
    config=TrainTokenizerConfig,
    inputs={"documents": Port("documents", "The text to learn from.")},
    outputs={"tokenizer": Port("tokenizer", "The vocabulary, with its fertility per source.")},
    run=run,
    key_metric="bytes_per_token",
)
