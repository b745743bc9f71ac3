"""Compares libraries for main-text extraction from HTML: text kept, boilerplate left out, speed.

    python benchmarks/html_extraction.py --pages PAGES.parquet [--extractors millrace,trafilatura]

PAGES has the columns ``html`` (bytes) and ``meta`` (JSON). Where ``meta`` has ``gold_with`` and ``gold_without``, snippets
that an extraction must and must not contain are counted, as trafilatura's own evaluation does: precision, recall and
F1 over all snippets. Where it has ``expected_main_text``, words are counted (a bag of words, per page, then the mean).
Snippets and texts are compared with white space collapsed. Time is processor time of one core, from bytes to text, so
decoding counts. The extractors that are installed are measured one after another; none is required.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

Extract = Callable[[bytes], str]


def decoded(content: bytes) -> str:
    """The page as text, decoded as Millrace does it, so that libraries that want text compete on extraction alone."""
    from millrace.data.sources.html.extract import decode_html

    return decode_html(content)[0]


def millrace() -> Extract:
    """``data/sources/html/extract.py`` as sources use it."""
    from millrace.data.sources.html.extract import extract

    return lambda content: extract(content).text


def resiliparse_plain() -> Extract:
    """All visible text."""
    from resiliparse.extract.html2text import extract_plain_text

    return lambda content: extract_plain_text(decoded(content), main_content=False)


def resiliparse_main() -> Extract:
    """Main content with resiliparse's defaults."""
    from resiliparse.extract.html2text import extract_plain_text

    return lambda content: extract_plain_text(decoded(content), main_content=True)


def trafilatura() -> Extract:
    """Defaults, without comments (gold text has none)."""
    from trafilatura import extract

    return lambda content: extract(content, include_comments=False) or ""


def trafilatura_fast() -> Extract:
    """Without its fallbacks to other extractors."""
    from trafilatura import extract

    return lambda content: extract(content, include_comments=False, fast=True) or ""


def readability() -> Extract:
    """readability-lxml, its summary's text."""
    from lxml.html import fromstring
    from readability import Document

    return lambda content: fromstring(Document(decoded(content)).summary()).text_content()


def justext() -> Extract:
    """jusText with the English stop list, as datatrove and NeMo Curator use it."""
    import justext as library

    words = library.get_stoplist("English")

    def extract(content: bytes) -> str:
        paragraphs = library.justext(content, words)
        return "\n".join(one.text for one in paragraphs if not one.is_boilerplate)

    return extract


def selectolax_plain() -> Extract:
    """All text without scripts, styles, navigation, headers and footers."""
    from selectolax.lexbor import LexborHTMLParser

    def extract(content: bytes) -> str:
        tree = LexborHTMLParser(decoded(content))
        tree.strip_tags(["script", "style", "noscript", "nav", "header", "footer", "aside", "form"])
        return tree.body.text(separator=" ") if tree.body else ""

    return extract


def html_text() -> Extract:
    """All visible text, by lxml."""
    from html_text import extract_text

    return lambda content: extract_text(decoded(content))


EXTRACTORS: dict[str, Callable[[], Extract]] = {
    function.__name__: function
    for function in (
        millrace,
        resiliparse_main,
        resiliparse_plain,
        trafilatura,
        trafilatura_fast,
        readability,
        justext,
        selectolax_plain,
        html_text,
    )
}


def collapsed(text: str) -> str:
    """Text with every run of white space as one space."""
    return re.sub(r"\s+", " ", text)


def snippet_counts(text: str, meta: dict[str, Any]) -> Counter[str]:
    """True and false positives and negatives of one page's snippets."""
    text = collapsed(text)
    counts: Counter[str] = Counter()
    for snippet in meta.get("gold_with") or ():
        counts["tp" if collapsed(snippet) in text else "fn"] += 1
    for snippet in meta.get("gold_without") or ():
        counts["fp" if collapsed(snippet) in text else "tn"] += 1
    return counts


def word_scores(text: str, expected: str) -> tuple[float, float]:
    """(precision, recall) of the words of one page."""
    found, wanted = Counter(re.findall(r"\w+", text)), Counter(re.findall(r"\w+", expected))
    common = sum((found & wanted).values())
    return common / max(sum(found.values()), 1), common / max(sum(wanted.values()), 1)


def measure(extract: Extract, pages: list[tuple[bytes, dict[str, Any]]]) -> dict[str, float]:
    """All figures of one extractor."""
    counts: Counter[str] = Counter()
    words: list[tuple[float, float]] = []
    failed = empty = total_bytes = 0
    seconds = worst = 0.0
    for content, meta in pages:
        start = time.process_time()
        try:
            text = extract(content)
        except Exception:  # a library that fails on a page has found nothing there, and that is a figure
            text, failed = "", failed + 1
        spent = time.process_time() - start
        seconds, worst, total_bytes = seconds + spent, max(worst, spent), total_bytes + len(content)
        empty += not text.strip()
        counts += snippet_counts(text, meta)
        if expected := meta.get("expected_main_text"):
            words.append(word_scores(text, expected))
    precision = counts["tp"] / max(counts["tp"] + counts["fp"], 1)
    recall = counts["tp"] / max(counts["tp"] + counts["fn"], 1)
    word_precision, word_recall = (
        sum(column) / max(len(words), 1) for column in zip(*words or [(0, 0)], strict=True)
    )
    return {
        "recall": recall,
        "rejection": counts["tn"] / max(counts["tn"] + counts["fp"], 1),
        "F1": 2 * precision * recall / max(precision + recall, 1e-9),
        "word precision": word_precision,
        "word recall": word_recall,
        "word F1": sum(2 * p * r / max(p + r, 1e-9) for p, r in words) / max(len(words), 1),
        "empty": empty,
        "failed": failed,
        "pages/s": len(pages) / seconds,
        "MB/s": total_bytes / seconds / 1e6,
        "worst ms": worst * 1e3,
    }


def main() -> None:
    """Prints one line per extractor."""
    import pyarrow.parquet as pq

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pages", required=True, help="Parquet file with the columns html and meta")
    parser.add_argument("--extractors", default=",".join(EXTRACTORS))
    options = parser.parse_args()
    table = pq.read_table(options.pages, columns=["html", "meta"])
    pages = [(row["html"], json.loads(row["meta"])) for row in table.to_pylist()]
    header = False
    for name in options.extractors.split(","):
        try:
            extract = EXTRACTORS[name]()
            extract(pages[0][0])
        except ImportError as error:
            print(f"{name:18} not installed ({error})")
            continue
        figures = measure(extract, pages)
        if not header:
            print(f"{len(pages)} pages, {sum(len(content) for content, _ in pages) / 1e6:.1f} MB")
            print(" " * 18, *(f"{key:>14}" for key in figures))
            header = True
        print(
            f"{name:18}",
            *(f"{value:14.3f}" if value < 10 else f"{value:14.1f}" for value in figures.values()),
            flush=True,
        )


if __name__ == "__main__":
    main()
