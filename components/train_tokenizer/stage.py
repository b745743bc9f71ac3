"""Trains the SentencePiece vocabulary on a sample of the corpus, weighted like the training mixture.

The sample's size decides the time, not the corpus: 4 MB give a stable vocabulary of 4,096 to 8,192 ids in about 10 s
on two cores, and doubling it changes bytes per token by less than 1%. Fertility is measured per source and language on
the documents that rank last for the sample, which is text that was not trained on unless the corpus is smaller than
the sample; the report says how much was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow.compute as pc

from millrace.components.contract import ComponentError, Context, Inputs
from millrace.data.documents import shards
from millrace.data.tokenizer import fertility, sentencepiece_model, tokenizer
from millrace.data.tokenizer import sample as text_sample
from millrace.data.tokenizer import training as tokenizer_training

from .config import TrainTokenizerConfig
from .report import write_report

LANGUAGE_BYTES = 50_000  # at most, to measure one language on


class Survey(NamedTuple):
    """Every document by its place in the artifact, without its text.

    Attributes:
        doc_ids: Its id.
        sources: Its source.
        languages: Its language, empty where none is known.
        gives: Bytes that it can give to a sample.
        bytes_in: Bytes of all texts.
    """

    doc_ids: list[str]
    sources: list[str]
    languages: list[str]
    gives: list[int]
    bytes_in: int


def run(context: Context, config: TrainTokenizerConfig, inputs: Inputs) -> None:
    """Samples, trains, measures and writes the ``tokenizer`` artifact and the report."""
    folder = inputs.one("documents").path
    survey = _survey(folder, config.max_document_bytes)
    if not survey.doc_ids:
        raise ComponentError("got no documents, expected text to train the vocabulary on")
    names = sorted(set(survey.sources))
    unknown = sorted(set(config.weights) - set(names))
    if unknown:
        raise ComponentError(
            f"got weights for {', '.join(unknown)}, expected sources of the documents: {', '.join(names)}"
        )
    order = text_sample.ranks(survey.doc_ids, context.seed)
    by_source = _grouped(order, survey.sources)
    by_language = _grouped(order, survey.languages)
    available = {source: sum(survey.gives[index] for index in by_source[source]) for source in names}
    budgets = text_sample.allot(available, config.weights, config.sample_bytes)
    sample: dict[int, int] = {}
    for source in names:
        sample |= _sample(survey, by_source[source], budgets[source], config.language_alpha)
    probes = {
        source: text_sample.choose(by_source[source][::-1], survey.gives, config.fertility_bytes)
        for source in names
    }
    language_bytes = min(config.fertility_bytes, LANGUAGE_BYTES)
    language_probes = {
        language: text_sample.choose(by_language[language][::-1], survey.gives, language_bytes)
        for language in sorted(by_language)
        if language
    }
    wanted = {index for chosen in (sample, *probes.values(), *language_probes.values()) for index in chosen}
    texts = _read(folder, wanted)

    def part(index: int, limit_bytes: int) -> str:
        return text_sample.window(texts[index], limit_bytes, int(survey.doc_ids[index][:8], 16))

    special = config.special
    context.log.info("training on %d bytes of %d documents: %s", sum(sample.values()), len(sample), budgets)
    try:
        trained = tokenizer_training.train(
            (part(index, sample[index]) for index in sorted(sample, key=survey.doc_ids.__getitem__)),
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
    model = sentencepiece_model.parse(trained)

    def measured(chosen: Mapping[int, int]) -> dict[str, float]:
        own = [part(index, size) for index, size in chosen.items()]
        seen = sum(size for index, size in chosen.items() if index in sample)
        return {**fertility.fertility(model, own), "trained_on_share": seen / max(sum(chosen.values()), 1)}

    figures = {source: measured(probe) for source, probe in probes.items() if probe}
    facts: dict[str, Any] = {
        "algorithm": config.algorithm,
        "sample_bytes": {source: budgets[source] for source in names},
        "fertility": figures,
    }
    tokenizer.write(context.output("tokenizer"), trained, special, facts)
    shares = {source: budgets[source] / sum(budgets.values()) for source in figures}
    sizes = write_report(
        context.output("report"),
        model=model,
        special=special,
        sample=_sampled(sample, survey),
        sources=figures,
        languages={language: measured(probe) for language, probe in language_probes.items() if probe},
        texts={
            source: [part(index, size) for index, size in probe.items()] for source, probe in probes.items()
        },
        shares=shares,
        compared_sizes=config.compared_sizes,
    )
    for source in figures:
        context.metric(f"bytes_per_token.{source}", figures[source]["bytes_per_token"])
    context.metric("bytes_per_token", sizes[-1]["bytes_per_token"])
    context.metric("byte_fallback_share", sum(shares[s] * figures[s]["byte_fallback_share"] for s in figures))
    context.metric("vocab_size", len(model.pieces))
    context.metric("documents_in", len(survey.doc_ids))
    context.metric("bytes_in", survey.bytes_in)
    if len(model.pieces) < config.vocab_size:
        context.log.warning("the text gave only %d useful ids of %d", len(model.pieces), config.vocab_size)


def _survey(folder: Any, max_document_bytes: int) -> Survey:
    """All documents in the artifact's order."""
    found = Survey([], [], [], [], 0)
    bytes_in = 0
    for table in shards.read_shards(folder, ["doc_id", "source", "lang", "text"]):
        sizes = pc.binary_length(table["text"])
        found.doc_ids.extend(table["doc_id"].to_pylist())
        found.sources.extend(table["source"].to_pylist())
        found.languages.extend(pc.fill_null(table["lang"], "").to_pylist())
        found.gives.extend(pc.min_element_wise(sizes, max_document_bytes).to_pylist())
        bytes_in += pc.sum(sizes).as_py() or 0
    return found._replace(bytes_in=bytes_in)


def _grouped(order: Iterable[int], labels: Sequence[str]) -> dict[str, list[int]]:
    """Label -> its documents, in order."""
    groups: dict[str, list[int]] = {}
    for index in order:
        groups.setdefault(labels[index], []).append(index)
    return groups


def _sample(survey: Survey, own: Sequence[int], budget_bytes: int, alpha: float) -> dict[int, int]:
    """The sample of one source: documents in order, or so for each language by temperature."""
    groups = _grouped(own, survey.languages)
    if alpha == 1 or len(groups) == 1:
        return text_sample.choose(own, survey.gives, budget_bytes)
    available = {language: sum(survey.gives[index] for index in group) for language, group in groups.items()}
    budgets = text_sample.allot(available, text_sample.tempered(available, alpha), budget_bytes)
    sample: dict[int, int] = {}
    for language in sorted(groups):
        sample |= text_sample.choose(groups[language], survey.gives, budgets[language])
    return sample


def _sampled(sample: Mapping[int, int], survey: Survey) -> list[dict[str, Any]]:
    """Documents and bytes of the sample by source and language."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for index, size_bytes in sample.items():
        key = (survey.sources[index], survey.languages[index])
        row = rows.setdefault(key, {"source": key[0], "language": key[1], "documents": 0, "bytes": 0})
        row["documents"] += 1
        row["bytes"] += size_bytes
    return [rows[key] for key in sorted(rows)]


def _read(folder: Any, wanted: set[int]) -> dict[int, str]:
    """The texts of chosen documents by their index in the artifact's order."""
    texts: dict[int, str] = {}
    first = 0
    for table in shards.read_shards(folder, ["text"]):
        rows = [row for row in range(table.num_rows) if first + row in wanted]
        for row, text in zip(rows, table["text"].take(rows).to_pylist() if rows else [], strict=True):
            texts[first + row] = text
        first += table.num_rows
    return texts
