"""The report of `train_tokenizer`: fertility by source and language, smaller vocabularies, pieces in use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from millrace.components.reports import html as html_page
from millrace.components.reports.files import write_json
from millrace.data.tokenizer import fertility
from millrace.data.tokenizer.sentencepiece_model import Model

PIECES = 40
FIGURES = {
    "bytes": "bytes measured",
    "bytes_per_token": "bytes per token",
    "tokens_per_word": "tokens per word",
    "byte_fallback_share": "characters as bytes",
    "unknown_share": "unknown",
    "trained_on_share": "trained on",
}


def write_report(
    folder: Path,
    *,
    model: Model,
    special: Sequence[str],
    sample: Sequence[Mapping[str, Any]],
    sources: Mapping[str, Mapping[str, float]],
    languages: Mapping[str, Mapping[str, float]],
    texts: Mapping[str, Sequence[str]],
    shares: Mapping[str, float],
    compared_sizes: Iterable[float],
) -> list[dict[str, Any]]:
    """Writes ``report.json`` and ``report.html``.

    Args:
        folder: Where to.
        model: The trained vocabulary.
        special: Its control tokens.
        sample: Documents and bytes of the sample by source and language.
        sources: Source -> its fertility.
        languages: Language -> its fertility.
        texts: Source -> the texts that its fertility was measured on.
        shares: Source -> its share of the sample.
        compared_sizes: Parts of the vocabulary to compare it with.

    Returns:
        Size by size, the whole vocabulary last, its bytes per token: by source, and as the sample is mixed.
    """
    counts = {source: fertility.token_counts(model, own) for source, own in texts.items()}
    sizes = []
    for part in sorted({*compared_sizes, 1.0}):
        cut = fertility.smaller(model, round(part * len(model.pieces)))
        if cut is None:
            continue
        by_source = {
            source: sources[source]["bytes"]
            / max(int((counts[source] if part == 1 else fertility.token_counts(cut, own)).sum()), 1)
            for source, own in texts.items()
        }
        mixed = 1 / sum(shares[source] / by_source[source] for source in sorted(shares) if shares[source])
        sizes.append({"vocab_size": len(cut.pieces), "bytes_per_token": mixed, "sources": by_source})
    use = fertility.pieces_in_use(model, np.sum(list(counts.values()), axis=0), PIECES)
    report = {
        "vocab_size": len(model.pieces),
        "algorithm": model.algorithm,
        "special": list(special),
        "sample": list(sample),
        "sources": dict(sources),
        "languages": dict(languages),
        "sizes": sizes,
        "pieces": use,
    }
    write_json(folder / "report.json", report, ascii=False)
    (folder / "report.html").write_text(_page(report), encoding="utf-8")
    return sizes


def _page(report: Mapping[str, Any]) -> str:
    sizes, use = report["sizes"], report["pieces"]
    sources = sorted(report["sources"])
    parts = [
        html_page.section("Fertility by source", _fertility("source", report["sources"])),
    ]
    if report["languages"]:
        coarsest_last = sorted(
            report["languages"].items(), key=lambda item: (item[1]["bytes_per_token"], item[0])
        )
        parts.append(
            html_page.section(
                "Fertility by language",
                html_page.paragraph("The languages that cost most tokens come first."),
                _fertility("language", dict(coarsest_last)),
            )
        )
    parts += [
        html_page.section(
            "Vocabulary size",
            html_page.paragraph(
                "Bytes per token of smaller vocabularies cut out of this one: exact for BPE, within some per cent of "
                "training anew for unigram."
            ),
            html_page.table(
                ["ids", "as mixed", *sources],
                [
                    [row["vocab_size"], row["bytes_per_token"], *(row["sources"][name] for name in sources)]
                    for row in sizes
                ],
            ),
        ),
        html_page.section(
            "Pieces",
            html_page.paragraph(
                f"{use['unused_share']:.1%} of the learnt pieces do not occur in the text measured here."
            ),
            html_page.folded("Most used", _pieces(use["most_used"])),
            html_page.folded("Longest", _pieces(use["longest"])),
        ),
        html_page.section(
            "Sample",
            html_page.table(
                ["source", "language", "documents", "bytes"],
                [
                    [row["source"], row["language"], row["documents"], row["bytes"]]
                    for row in report["sample"]
                ],
            ),
            html_page.paragraph(f"Control tokens: {', '.join(report['special'])}"),
        ),
    ]
    return html_page.page(
        "Tokenizer",
        f"{report['algorithm']}, {report['vocab_size']:,} ids, {sizes[-1]['bytes_per_token']:.3f} bytes per token "
        "as the sample is mixed",
        *parts,
    )


def _fertility(label: str, figures: Mapping[str, Mapping[str, float]]) -> html_page.Piece:
    rows: list[list[str | float | None]] = [
        [name, *(own[key] for key in FIGURES)] for name, own in figures.items()
    ]
    return html_page.table([label, *FIGURES.values()], rows)


def _pieces(rows: Sequence[Mapping[str, Any]]) -> html_page.Piece:
    return html_page.table(
        ["piece", "id", "occurs"], [[row["piece"], row["id"], row["count"]] for row in rows]
    )
