"""Trains a text classifier inside the pipeline, for filters such as quality or safety.

Labels come from whole sources (good against raw) or from a field of the documents' metadata. A keyed hash of each
document's id assigns it to training, calibration or test, so a growing corpus never moves a document from one to
another. Deduplicate first: a copy on both sides of the split makes the test easy.

Measured on two cores: 15,761 short texts in 8 s. Scoring runs at the speed of a filter (see data/filters/classifier.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from millrace.components.contract import ComponentError, Context, Inputs
from millrace.components.reports import charts, html
from millrace.components.reports.files import write_json
from millrace.data.documents import shards
from millrace.data.documents.choosing import keyed
from millrace.data.filters import classifier, hashed_ngrams
from millrace.data.text.batch import from_arrow
from millrace.model.judges import text_classifier
from millrace.model.judges.text_classifier import Point

from .config import LEAST_EXAMPLES, TrainClassifierConfig

TARGETS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99)
SHOWN_EXAMPLES = 5
SPLITS = ("train", "calibrate", "test")


def run(context: Context, config: TrainClassifierConfig, inputs: Inputs) -> None:
    """Chooses examples, trains, calibrates, tests, and writes the classifier and its report."""
    table = _examples(context, config, inputs.one("documents").path)
    is_positive = np.asarray(table["is_positive"])
    split = np.asarray(table["split"])
    batch = from_arrow(table["text"])
    found = hashed_ngrams.features(batch, bits=config.bits, max_words=config.max_words)

    def of(name: str) -> np.ndarray:
        rows = np.flatnonzero(split == SPLITS.index(name))
        for flag, label in ((True, "positive"), (False, "negative")):
            if not (is_positive[rows] == flag).any():
                raise ComponentError(
                    f"got no {label} document to {name} with, expected some of each label: give more documents, "
                    "or a larger held_out_fraction"
                )
        return rows

    rows = of("train")
    lengths = np.diff(found.offsets)[rows]
    chosen = np.concatenate([found.buckets[found.offsets[row] : found.offsets[row + 1]] for row in rows])
    context.log.info("training on %d documents", rows.size)
    weights = text_classifier.fit(
        chosen,
        np.concatenate([[0], np.cumsum(lengths)]),
        is_positive[rows],
        buckets=2**config.bits,
        epochs=config.epochs,
        batch_size=config.batch_size,
        seed=context.seed,
    )
    scores = hashed_ngrams.scores(found, weights.weights, weights.bias)
    known, test = of("calibrate"), of("test")
    calibration = text_classifier.calibrate(scores[known], is_positive[known])
    likely = calibration.probabilities(scores)
    curves = {
        "positive": text_classifier.precision_curve(likely[known], is_positive[known]),
        "negative": text_classifier.precision_curve(1 - likely[known], ~is_positive[known]),
    }
    made = classifier.Classifier(
        name=config.name,
        bits=config.bits,
        max_words=config.max_words,
        weights=weights.weights,
        bias=weights.bias,
        slope=calibration.slope,
        intercept=calibration.intercept,
        curves={label: [list(point) for point in curve] for label, curve in curves.items()},
    )
    made.write(context.output("classifier"))

    area = text_classifier.area_under_curve(scores[test], is_positive[test])
    bins, error = text_classifier.reliability(likely[test], is_positive[test])
    counts = {
        name: {
            label: int((is_positive[split == place] == flag).sum())
            for flag, label in ((True, "positive"), (False, "negative"))
        }
        for place, name in enumerate(SPLITS)
    }
    report = {
        "name": config.name,
        "documents": counts,
        "area_under_curve": area._asdict(),
        "calibration_error": error,
        "reliability": [one._asdict() for one in bins],
        "thresholds": {
            label: _thresholds(curves[label], likely[test], is_positive[test], label) for label in curves
        },
    }
    folder = context.output("report")
    write_json(folder / "report.json", report)
    shown = table.take(pa.array(test))
    (folder / "report.html").write_text(_page(report, shown, likely[test]), encoding="utf-8")
    context.metric("documents_in", len(split))
    context.metric("area_under_curve", area.value)
    context.metric("calibration_error", error)


def _examples(context: Context, config: TrainClassifierConfig, folder: Path) -> Any:
    """The labelled documents: ``text``, ``uri``, ``is_positive`` and ``split``, in the order of their hashes."""
    found: list[tuple[int, bool, int, int]] = []
    sources: set[str] = set()
    for shard, table in enumerate(shards.read_shards(folder, ["doc_id", "source", "metadata"])):
        columns = (table[name].to_pylist() for name in ("doc_id", "source", "metadata"))
        for row, (doc_id, source, metadata) in enumerate(zip(*columns, strict=True)):
            sources.add(source)
            is_positive = config.positive.holds(source, metadata)
            if is_positive and config.negative.holds(source, metadata):
                raise ComponentError(
                    f"got document {doc_id} of {source} with both labels, expected labels that exclude each other"
                )
            if is_positive or config.negative.holds(source, metadata):
                found.append((keyed(context.seed, doc_id), is_positive, shard, row))
    found.sort()
    chosen = []
    for label in (True, False):
        own = [one for one in found if one[1] == label]
        if len(own) < LEAST_EXAMPLES:
            name = "positive" if label else "negative"
            raise ComponentError(
                f"got {len(own)} documents with the {name} label, expected at least {LEAST_EXAMPLES}; "
                f"sources that came in: {', '.join(sorted(sources))}"
            )
        chosen += own[: config.max_examples]
    chosen.sort()
    wanted: dict[int, list[int]] = {}
    for _, _, shard, row in chosen:
        wanted.setdefault(shard, []).append(row)
    pieces: list[Any] = []
    place: dict[tuple[int, int], int] = {}
    for shard, table in enumerate(shards.read_shards(folder, ["uri", "text"])):
        for row in wanted.get(shard, ()):
            place[shard, row] = len(place)
        pieces.append(table.take(pa.array(wanted.get(shard, []), pa.int64())))
    order = [place[shard, row] for _, _, shard, row in chosen]
    # The hash's low bits choose the split: its high bits ordered the documents and cut them off at the maximum.
    shares = [(number & 0xFFFFFFFF) / 2**32 for number, *_ in chosen]
    half = config.held_out_fraction / 2
    return (
        pa.concat_tables(pieces)
        .take(pa.array(order))
        .append_column("is_positive", pa.array([one[1] for one in chosen]))
        .append_column(
            "split",
            pa.array(
                [1 if share < half else 2 if share < config.held_out_fraction else 0 for share in shares]
            ),
        )
    )


def _thresholds(
    curve: list[Point], likely: np.ndarray, is_positive: np.ndarray, label: str
) -> list[dict[str, float]]:
    """The threshold of each target precision, and its precision and recall on the test documents."""
    rows = []
    probabilities, is_wanted = (likely, is_positive) if label == "positive" else (1 - likely, ~is_positive)
    for target in TARGETS:
        reached = [point.threshold for point in curve if point.precision >= target]
        if not reached:
            continue
        taken = probabilities >= min(reached)
        rows.append(
            {
                "target_precision": target,
                "threshold": min(reached),
                "precision": float(is_wanted[taken].mean()) if taken.any() else 0.0,
                "recall": float(taken[is_wanted].mean()),
            }
        )
    return rows


def _page(report: dict[str, Any], test: Any, likely: np.ndarray) -> str:
    area = report["area_under_curve"]
    is_positive = np.asarray(test["is_positive"])
    edges = np.linspace(0.0, 1.0, 21)
    parts = [
        html.section(
            "Documents",
            html.table(
                ["part", "positive", "negative"],
                [
                    [name, values["positive"], values["negative"]]
                    for name, values in report["documents"].items()
                ],
            ),
        ),
        html.section(
            "Probabilities of the test documents",
            *(
                charts.histogram(
                    np.histogram(likely[is_positive == flag], bins=edges)[0].tolist(), edges.tolist(), label
                )
                for flag, label in ((True, "positive"), (False, "negative"))
            ),
            html.table(
                ["documents", "mean probability", "share of positives"],
                [[one["texts"], one["probability"], one["share"]] for one in report["reliability"]],
            ),
            html.paragraph(f"Expected calibration error: {report['calibration_error']:.3f}."),
        ),
    ]
    for label, rows in report["thresholds"].items():
        parts.append(
            html.section(
                f"Thresholds that keep {label} documents",
                html.table(
                    ["target precision", "least probability", "precision on the test", "recall on the test"],
                    [list(row.values()) for row in rows],
                ),
            )
        )
    wrong = np.where(is_positive, 1 - likely, likely)
    for title, order in (
        ("Furthest from their label", np.argsort(-wrong, kind="stable")),
        ("Most positive", np.argsort(-likely, kind="stable")),
        ("Most negative", np.argsort(likely, kind="stable")),
    ):
        shown = []
        for row in order[:SHOWN_EXAMPLES].tolist():
            label = "positive" if is_positive[row] else "negative"
            shown.append(html.paragraph(f"{likely[row]:.3f}, labelled {label}: {test['uri'][row].as_py()}"))
            shown.append(html.quote(test["text"][row].as_py(), limit=300))
        parts.append(html.section(title, *shown))
    summary = (
        f"Area under the curve {area['value']:.3f} (95%: {area['low']:.3f} to {area['high']:.3f}) on "
        f"{len(likely):,} held-out documents."
    )
    return html.page(f"Classifier: {report['name']}", summary, *parts)
