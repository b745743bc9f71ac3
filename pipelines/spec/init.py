"""Writes a first spec: the reference pipeline, or one whose settings fit a user's own documents.

The spec is a template of the package with values filled in, so that its comments are written where people read them.
Sizes grow with the corpus in three steps, and stop where two cores would take more than some minutes: a first run
should show the whole route, and the comments say what to raise afterwards.
"""

from __future__ import annotations

import importlib.resources
import json
import os
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from millrace.components.contract import ComponentError

from .survey import Survey, source_names, survey

REFERENCE, DOCUMENTS = "reference.yaml", "documents.yaml"
MIN_DOCUMENTS, MIN_TEXT_BYTES = 20, 50_000
HELD_OUT_DOCUMENTS = 8
LARGE_DROP = 0.2
LARGE_TOTAL_DROP = 0.4
KEPT_FRACTION = 0.5  # of the text that is there after filter, dedup and held-out documents, at worst
MAX_EPOCHS = 6
BATCH_SIZE, SEQUENCE_TOKENS = 16, 256
PROMPT_TOKENS, ANSWER_TOKENS = 192, 48  # of what a row holds, when the model learns from its own answers
TOKEN_MARGIN = 0.75  # prompts and answers have more tokens to a character than whole documents
CONTROL_TOKENS = 300  # 256 bytes, the chat's and the reserved control tokens


@dataclass(frozen=True)
class Size:
    """Settings for a corpus of up to so many bytes.

    Attributes:
        text_bytes: The largest corpus that it is for.
        vocab_size: Tokens.
        bytes_per_token: What such a vocabulary makes of prose, about.
        layers: Of the decoder.
        model_size: Width.
        head_size: Width of each of four heads.
        feed_forward_size: Width of the feed-forward layer.
        tokens: The most that are trained on.
        minutes: How long a run takes on two cores, about.
    """

    text_bytes: float
    vocab_size: int
    bytes_per_token: float
    layers: int
    model_size: int
    head_size: int
    feed_forward_size: int
    tokens: int
    minutes: str


SIZES = (
    Size(1e6, 1024, 2.4, 2, 128, 32, 320, 500_000, "about 4 minutes"),
    Size(1e7, 2048, 2.8, 3, 160, 40, 400, 700_000, "about 6 minutes"),
    Size(1e9, 4096, 3.3, 4, 192, 48, 512, 800_000, "about 10 minutes"),
    Size(
        float("inf"), 8192, 3.6, 4, 192, 48, 512, 800_000, "an hour or more, most of it reading and cleaning"
    ),
)


def template(name: str) -> str:
    """The text of a template."""
    return importlib.resources.files("millrace.pipelines.specs").joinpath(name).read_text(encoding="utf-8")


def reference_spec() -> str:
    """The reference pipeline's spec."""
    return template(REFERENCE)


def documents_spec(patterns: Sequence[str], benchmarks: Sequence[str], folder: Path) -> tuple[str, list[str]]:
    """A spec for a user's documents.

    Args:
        patterns: Globs, relative to the working directory; each becomes a source.
        benchmarks: JSON Lines files of questions, relative to the working directory.
        folder: Where the spec will be, which its paths count from.

    Returns:
        The spec's text, and what was found, line by line.

    Raises:
        ComponentError: The documents or benchmarks cannot be used, or are too few.
    """
    sources = [
        survey(name, [pattern]) for name, pattern in zip(source_names(patterns), patterns, strict=True)
    ]
    documents = sum(source.documents for source in sources)
    text_bytes = sum(source.text_bytes for source in sources)
    if documents < MIN_DOCUMENTS or text_bytes < MIN_TEXT_BYTES:
        raise ComponentError(
            f"--documents: got {documents} documents with {text_bytes} bytes of text, expected at least {MIN_DOCUMENTS} "
            f"and {MIN_TEXT_BYTES}: some are held out to measure the model; cut long texts into one JSON line for each "
            "chapter or section"
        )
    questions = _questions(benchmarks)
    dropped = {source.name: _loosened(source) for source in sources}
    size = next(size for size in SIZES if text_bytes <= size.text_bytes)
    found = [line for source in sources for line in _found(source, dropped[source.name])]
    found += [f"{path}: {count} questions ({form})" for path, (count, form) in questions.items()]
    values = _values(sources, size, documents, text_bytes)
    names = dict(zip(source_names(list(questions)), questions, strict=True))
    files = [f"{name}: {_quoted(_path(path, folder))}" for name, path in names.items()]
    values |= {
        "found": "\n".join(f"#   {line}" for line in found),
        "sources": _lines(8, [line for source in sources for line in _source(source, documents, folder)]),
        "rules": _lines(8, [line for source in sources for line in _rules(source, dropped[source.name])]),
        "benchmark_note": ", and yours" if files else "",
        "benchmark_files": _lines(6, ["files:", *(f"  {line}" for line in files)])
        if files
        else "      # files: {mine: my_eval.jsonl}",
    }
    return string.Template(template(DOCUMENTS)).substitute(values), found


def write_new(path: Path, text: str, *, force: bool) -> None:
    """Writes a file that must not be there yet, unless forced.

    Raises:
        ComponentError: It is there.
    """
    try:
        with path.open("w" if force else "x", encoding="utf-8") as handle:
            handle.write(text)
    except FileExistsError:
        raise ComponentError(
            f"{path} is there already; --force overwrites it, --output names another"
        ) from None
    except FileNotFoundError:
        raise ComponentError(f"got --output {path}, whose folder is not there; make it first") from None


def _values(sources: Sequence[Survey], size: Size, documents: int, text_bytes: int) -> dict[str, Any]:
    """The numbers and words of the template."""
    is_code = all(source.is_code for source in sources)
    trainable = KEPT_FRACTION * text_bytes / size.bytes_per_token
    step_tokens = BATCH_SIZE * SEQUENCE_TOKENS
    characters_per_token = (
        TOKEN_MARGIN * size.bytes_per_token / max(source.bytes_per_character for source in sources)
    )
    steps = max(20, int(min(size.tokens, MAX_EPOCHS * trainable) / step_tokens))
    characters = max(source.characters for source in sources)
    vocab_size = max(size.vocab_size, -(-(characters * 5 // 4 + CONTROL_TOKENS) // 256) * 256)
    weights = {source.name: round(source.text_bytes / text_bytes, 3) or 0.001 for source in sources}
    languages = dict.fromkeys(
        tag[:2]
        for source in sources
        for tag, share in source.languages.items()
        if share >= 0.01 and tag[:2].isalpha()
    )
    bad = max(source.bad_fraction for source in sources)
    name = sources[0].name.replace("_", "-") if len(sources) == 1 else "my-documents"
    return {
        "name": name,
        "model_name": f"{name}-model",
        "minutes": size.minutes,
        "max_bad_fraction": 0.01 if bad < 0.005 else min(1.0, round(2 * bad, 3)),
        "vocab_size": vocab_size,
        "layers": size.layers,
        "model_size": size.model_size,
        "heads": 4,
        "head_size": size.head_size,
        "feed_forward_size": size.feed_forward_size,
        "sequence_length_tokens": SEQUENCE_TOKENS,
        "until_tokens": steps * step_tokens,
        "weights": _flow(weights),
        "batch_size": BATCH_SIZE,
        "learning_rate": 0.002,
        "evaluate_every_steps": max(10, steps // 4),
        "max_examples": min(2000, max(200, 4 * documents)),
        "max_prompt_characters": min(500, max(120, round(characters_per_token * PROMPT_TOKENS))),
        "max_answer_characters": min(200, max(100, round(characters_per_token * ANSWER_TOKENS))),
        "sft_epochs": 1 if documents >= 500 else 2,
        "rlhf_steps": 12,
        "rlhf_rule": "docstring" if is_code else "text",
        "max_prompt_tokens": PROMPT_TOKENS,
        "max_new_tokens": ANSWER_TOKENS,
        "max_scores": _flow({f"held_out_{source.name}": "{max: 5.0}" for source in sources}),
        "languages": "[" + ", ".join([*languages][:8] or ["en"]) + "]",
    }


def _source(source: Survey, documents: int, folder: Path) -> list[str]:
    """A source's section."""
    held_out = min(0.3, max(0.05, round(HELD_OUT_DOCUMENTS / source.documents, 3)))
    paths = ", ".join(_quoted(_path(pattern, folder)) for pattern in source.patterns)
    lines = [f"{source.name}:", "  type: files", f"  paths: [{paths}]"]
    if source.text_column is not None:
        lines.append(f"  text_column: {_quoted(source.text_column)}")
    if source.id_column is not None:
        lines.append(
            f"  id_column: {_quoted(source.id_column)}   # ids make documents findable by your own names"
        )
    if source.language_column is not None:
        lines.append(f"  language_column: {_quoted(source.language_column)}")
    else:
        lines.append(
            f"  language: {'python' if source.is_code else 'en'}   # of all documents: none names its own"
        )
    if source.licence_column is not None:
        lines.append(
            f"  metadata_columns: [{_quoted(source.licence_column)}]   # licences go to the model card"
        )
    return [*lines, f"  held_out_fraction: {held_out}"]


def _rule_names(source: Survey) -> list[str]:
    if source.is_code:
        return ["code", "pii"]
    return ["unicode", "language", "gopher_quality", "gopher_repetition", "pii"]


def _loosened(source: Survey) -> dict[str, float]:
    """Bounds that would drop much of the sample -> the share that they would drop; by rule and field, dotted."""
    import numpy as np

    from millrace.components.filter import stage as filters
    from millrace.data.text.batch import from_texts

    config = filters.FilterConfig.model_validate(
        {"rules": {"it": [{"rule": name} for name in _rule_names(source)]}}
    )
    batch = from_texts([text.encode("utf-8", "replace").decode() for text in source.texts])
    broken: dict[str, Any] = {}
    for rule in config.rules["it"]:
        values = filters.measure(rule, batch)
        for bound in filters.bounds_of(rule):
            broken[bound.name] = bound.broken(values[bound.value])
    found = {name: float(hits.mean()) for name, hits in broken.items() if hits.mean() > LARGE_DROP}
    while True:
        kept = {name: hits for name, hits in broken.items() if name not in found}
        if not kept or np.logical_or.reduce(list(kept.values())).mean() <= LARGE_TOTAL_DROP:
            return found
        worst = max(kept, key=lambda name: float(kept[name].mean()))
        found[worst] = float(kept[worst].mean())


def _rules(source: Survey, dropped: Mapping[str, float]) -> list[str]:
    """A source's section of the filter."""
    lines = [f"{source.name}:"]
    for name in _rule_names(source):
        lines.append(f"  - rule: {name}")
        for dotted, share in dropped.items():
            rule, _, field = dotted.partition(".")
            if rule == name:
                lines.append(
                    f"    {field}: null   # the usual bound would drop {100 * share:.0f}% of a sample"
                )
    return lines


def _found(source: Survey, dropped: Mapping[str, float]) -> list[str]:
    """What the survey found, for people."""
    about = "" if source.is_exact else "about "
    kinds = ", ".join(f"{count} {kind}" for kind, count in source.formats.items())
    what = "Python" if source.is_code else "prose"
    lines = [
        f"{source.name}: {', '.join(source.patterns)}: {kinds} files; {about}{source.documents:,} documents, "
        f"{about}{source.text_bytes / 1e6:,.1f} MB of text, taken as {what}"
    ]
    columns = [("text", source.text_column), ("ids", source.id_column)]
    columns += [("language", source.language_column), ("licence", source.licence_column)]
    named = ", ".join(f"{what} in {name!r}" for what, name in columns if name is not None)
    if named:
        lines.append(f"  columns: {named}")
    if source.bad_fraction:
        lines.append(f"  {100 * source.bad_fraction:.1f}% of the records hold no text")
    if source.languages:
        top = ", ".join(f"{tag} {100 * share:.0f}%" for tag, share in list(source.languages.items())[:5])
        lines.append(f"  languages: {top}{', …' if len(source.languages) > 5 else ''}")
    if dropped:
        lines.append(f"  filter bounds switched off: {', '.join(name.partition('.')[2] for name in dropped)}")
    return lines


def _questions(paths: Sequence[str]) -> dict[str, tuple[int, str]]:
    """Each benchmark file, checked line by line -> number of questions and their form."""
    from millrace.data.examples.user_examples import read_questions
    from millrace.data.sources.records import SourceError

    found = {}
    for path in paths:
        try:
            rows = read_questions(path)
        except SourceError as error:
            raise ComponentError(f"--benchmark: {error}") from None
        found[path] = (len(rows), "multiple choice" if "choices" in rows[0] else "generation")
    return found


def _path(pattern: str, folder: Path) -> str:
    """A pattern as the spec must write it: counted from the spec's folder, absolute and remote ones as they are."""
    if "://" in pattern or os.path.isabs(pattern):
        return pattern
    return os.path.relpath(pattern, folder).replace(os.sep, "/")


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _flow(values: Mapping[str, Any]) -> str:
    return "{" + ", ".join(f"{key}: {value}" for key, value in values.items()) + "}"


def _lines(indent: int, lines: Sequence[str]) -> str:
    return "\n".join(" " * indent + line for line in lines)
