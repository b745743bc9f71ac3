"""Span deduplication against a quadratic reference, whatever the shards; evidence and reports that hold."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millrace.components.contract import ComponentError
from millrace.components.dedup_spans import stage as dedup_spans
from millrace.data.documents import shards as documents

Spans = list[tuple[int, int]]
LOOSE = {"min_words": 1, "min_characters": 1}


def corpus(folder: Path, texts: list[str], shards: int = 1, sources: str = "a") -> Path:
    folder.mkdir(parents=True)
    rows = [
        {
            "doc_id": documents.document_id(str(i), ""),
            "text": text,
            "source": sources[i % len(sources)],
            "lang": "",
            "uri": f"file{i}",
            "locator": "",
            "metadata": "{}",
        }
        for i, text in enumerate(texts)
    ]
    size = max(-(-len(rows) // shards), 1)
    for index in range(shards):
        part = rows[index * size : (index + 1) * size]
        documents.write_shard(folder / documents.shard_name(index), documents.documents_table(part))
    return folder


def units_of(method: dict[str, Any], text: str) -> tuple[Spans, list[str]]:
    """Where the units of an ASCII text are, and what is compared of them."""
    if method["method"] == "substrings":
        found = [match.span() for match in re.finditer(r"\S+", text)]
        return found, [text[a:b] for a, b in found]
    pattern = {
        "lines": r"[^\n]+",
        "paragraphs": r"[^\n]*\S[^\n]*(?:\n[^\n]*\S[^\n]*)*",
        "sentences": r"[^\n]*?[.!?]+(?=\s|$)|[^\n]+",
    }[method["method"]]
    spans, forms = [], []
    for match in re.finditer(pattern, text):
        form = " ".join(re.sub(r"[^\w\s]", "", re.sub(r"\d", "0", match.group().lower())).split())
        if form:
            lead = len(match.group()) - len(match.group().lstrip())
            spans.append(
                (match.start() + lead, match.end() - len(match.group()) + len(match.group().rstrip()))
            )
            forms.append(form)
    return spans, forms


def size_of(method: dict[str, Any]) -> int:
    sizes = {"substrings": method.get("min_words", 50), "sentences": method.get("span_sentences", 3)}
    return sizes.get(method["method"], 1)


def visible_cuts(method: dict[str, Any], texts: list[str]) -> list[set[int]]:
    """By brute force over all pairs of windows: the characters of each text that repeat earlier ones."""
    size, most = size_of(method), method.get("max_occurrences", 1)
    found = [units_of(method, text) for text in texts]
    windows = [
        (row, place, tuple(forms[place : place + size]))
        for row, (_, forms) in enumerate(found)
        for place in range(len(forms) - size + 1)
    ]
    gone: list[set[int]] = [set() for _ in texts]
    for at, (row, place, window) in enumerate(windows):
        earlier = [other for other in windows[:at] if other[2] == window]
        if len(earlier) < most:
            continue
        kept_row, kept_place, _ = earlier[most - 1]
        first = max(place, kept_place + size) if kept_row == row else place
        gone[row] |= set(range(found[row][0][first][0], found[row][0][place + size - 1][1]))
    return gone


def without(text: str, gone: set[int]) -> str:
    """The visible characters that stay, each cut and the white space beside it as one gap."""
    marked = "".join("\0" if at in gone else character for at, character in enumerate(text))
    left, at = "", 0
    for match in re.finditer("(\\s*)\0(?:[\\s\0]*\0)?(\\s*)", marked):
        left += marked[at : match.start()]
        before, after = match.groups()
        last, rest = after.rpartition("\n")[1:]
        is_first, is_last = match.start() == 0, match.end() == len(marked)
        if is_first and is_last:
            pass
        elif not is_first and (is_last or after.count("\n") >= before.count("\n")):
            left += after
        elif last:
            left += ("" if is_first else before[: before.rfind("\n") + 1]) + rest
        else:
            left += "" if is_first else before
        at = match.end()
    return left + marked[at:]


def run(
    run_component: Any, methods: list[dict], folder: Path, **config: Any
) -> tuple[dict[str, str], dict[str, dict], Any]:
    """Texts and decisions by address."""
    config = {"methods": methods, "min_words_left": 0, "max_drop_fraction": 1.0, **config}
    done = run_component("dedup_spans", config, {"documents": folder})

    def rows(port: str) -> list[dict]:
        return pa.concat_tables(
            pq.read_table(p) for p in documents.shard_paths(done.outputs[port])
        ).to_pylist()

    texts = {row["uri"]: row["text"] for row in rows("documents")}
    ids = {row["doc_id"]: row["uri"] for row in pq.read_table(folder).to_pylist()}
    decisions = {
        ids[row["doc_id"]]: {**row, "evidence": json.loads(row["evidence"])} for row in rows("decisions")
    }
    return texts, decisions, done


METHODS = [
    {"method": "lines", **LOOSE},
    {"method": "lines", **LOOSE, "max_occurrences": 2},
    {"method": "paragraphs", **LOOSE},
    {"method": "sentences", **LOOSE},
    {"method": "sentences", **LOOSE, "span_sentences": 2},
    {"method": "substrings", "min_words": 3},
    {"method": "substrings", "min_words": 5, "max_occurrences": 2},
]
WORDS = st.sampled_from(["a", "B", "b!", "c.", "7", "8", "\n", "\n", "\n\n", "\n  ", "-"])
TEXTS = st.lists(st.lists(WORDS, max_size=24).map(" ".join), min_size=1, max_size=6)


@pytest.fixture
def without_beam(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passes as plain loops: Beam takes half a second a run, and hundreds of runs are wanted."""

    def map_shards(context: Any, tasks: Any, work: Any, label: str, *, unit: str = "") -> list:
        return [json.loads(json.dumps(work(task))) for task in tasks]

    monkeypatch.setattr(dedup_spans, "map_shards", map_shards)


@pytest.mark.usefixtures("without_beam")
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: "-".join(map(str, method.values())))
@given(texts=TEXTS, shards=st.integers(1, 3))
def test_what_is_cut_equals_brute_force(
    run_component: Any, tmp_path_factory: pytest.TempPathFactory, method: dict, texts: list[str], shards: int
) -> None:
    """Every text becomes what comparing all pairs of windows makes of it, in any number of shards."""
    folder = corpus(tmp_path_factory.mktemp("c") / "c", [*texts, "an unique end"], shards)
    found, decisions, _ = run(run_component, [method], folder)
    expected = [without(text, gone) for text, gone in zip(texts, visible_cuts(method, texts), strict=True)]
    assert [found[f"file{row}"] for row in range(len(texts))] == expected
    for row, (before, after) in enumerate(zip(texts, expected, strict=True)):
        decision = decisions[f"file{row}"]
        assert decision["action"] == ("keep" if before == after else "edit")
        for start, end in reversed(decision["evidence"].get("spans", [])):
            before = before[:start] + before[end:]
        assert before == after


def planted(seed: int) -> list[str]:
    """Documents of random words with long passages of earlier ones in their midst."""
    rng = random.Random(seed)
    texts: list[list[str]] = []
    for _ in range(30):
        words = [f"w{rng.randrange(4_000)}" for _ in range(rng.randrange(20, 300))]
        for _ in range(rng.choice([0, 0, 1, 2])):
            if texts:
                other = rng.choice(texts)
                first = rng.randrange(len(other))
                at = rng.randrange(len(words))
                words[at:at] = other[first : first + rng.randrange(30, 90)]
        texts.append(words)
    return [" ".join(words) for words in texts]


def test_long_substrings_equal_brute_force_on_planted_passages(run_component: Any, tmp_path: Path) -> None:
    """With 50 words a window, anchors and all: each passage goes, and no 50 words that stayed together repeat."""
    texts, method = planted(1), {"method": "substrings"}
    found, decisions, done = run(run_component, [method], corpus(tmp_path / "c", texts, 4))
    gone = visible_cuts(method, texts)
    assert [found[f"file{row}"] for row in range(len(texts))] == [
        without(text, own) for text, own in zip(texts, gone, strict=True)
    ]
    seen: dict[tuple[str, ...], str] = {}
    for row, text in enumerate(texts):
        kept = "".join("\0" if at in gone[row] else c for at, c in enumerate(text))
        for piece in kept.split("\0"):
            words = piece.split()
            for at in range(len(words) - 49):
                assert seen.setdefault(tuple(words[at : at + 50]), f"{row} {at}") == f"{row} {at}"
    edited = {uri: decision for uri, decision in decisions.items() if decision["action"] == "edit"}
    assert len(edited) == done.metrics["documents_cut"] >= 5
    for uri, decision in edited.items():
        longest = decision["evidence"]["longest"][0]
        start, end = longest["start"], longest["end"]
        text = texts[int(uri[4:])]
        first = texts[int(longest["first_uri"][4:])]
        assert longest["quote"].rstrip("…") in text[start:end]
        assert longest["quote"].rstrip("…") in first
        assert longest["first"] == documents.document_id(longest["first_uri"][4:], "")
        assert decision["score"] == pytest.approx(1 - len(found[uri]) / len(text))
        assert decision["bytes_after"] == len(found[uri].encode())


def test_shards_do_not_change_a_byte(run_component: Any, tmp_path: Path) -> None:
    """The same documents in one shard or in seven: the same texts, decisions and report."""
    methods: list[dict] = [
        {"method": "lines"},
        {"method": "sentences", "max_occurrences": 2},
        {"method": "substrings", "min_words": 12},
    ]
    texts = [text.replace(" w1", "\nw1").replace("9 ", "9. ") for text in planted(2)]
    runs = [run(run_component, methods, corpus(tmp_path / str(n), texts, n)) for n in (1, 7)]
    assert runs[0][:2] == runs[1][:2]
    reports = [
        (done.outputs["report"] / name).read_bytes()
        for *_, done in runs
        for name in ("report.json", "report.html")
    ]
    assert reports[:2] == reports[2:]


def test_methods_together_lose_nothing(run_component: Any, tmp_path: Path) -> None:
    """With all methods at once every line still stands somewhere, in its normal form."""

    def lines(texts: Iterable[str]) -> set[str]:
        return {re.sub(r"\d", "0", line.strip()) for text in texts for line in text.split("\n")} - {""}

    texts = [text.replace(" w1", "\nw1") for text in planted(3)]
    methods = [{"method": "lines", **LOOSE}, {"method": "paragraphs", **LOOSE}]
    found, _, done = run(run_component, methods, corpus(tmp_path / "c", [*texts, *texts], 2))
    assert lines(found.values()) == lines(texts)
    assert done.metrics["cut_fraction"] > 0.5


def test_a_document_that_is_left_too_small_is_dropped_with_its_evidence(
    run_component: Any, tmp_path: Path
) -> None:
    """Only documents that were cut can be too small; the score says how many words were left."""
    boilerplate = "All rights reserved by the owners of this page"
    texts = [f"Something new {'and more ' * 9}\n{boilerplate}", "short", f"two words\n{boilerplate}"]
    found, decisions, done = run(
        run_component, [{"method": "lines"}], corpus(tmp_path / "c", texts), min_words_left=3
    )
    assert sorted(found) == ["file0", "file1"]
    assert [decisions[f"file{row}"]["action"] for row in range(3)] == ["keep", "keep", "drop"]
    dropped = decisions["file2"]
    assert (dropped["rule"], dropped["score"], dropped["bytes_after"]) == ("too_small", 2, 0)
    assert dropped["evidence"]["longest"][0]["first_uri"] == "file0"
    assert done.metrics["dropped.too_small"] == 1


def test_sources_that_a_method_leaves_out_are_neither_compared_nor_cut(
    run_component: Any, tmp_path: Path
) -> None:
    """Lines of code may repeat where only prose is deduplicated; an unknown source is an error with the known ones."""
    texts = [f"the same line in all of these documents\n{n}" for n in range(6)]
    folder = corpus(tmp_path / "c", texts, 2, sources="ab")
    found, _, _ = run(run_component, [{"method": "lines", "sources": ["b"]}], folder)
    assert [n for n in range(6) if found[f"file{n}"] != texts[n]] == [3, 5]
    with pytest.raises(ComponentError, match=r"got source 'c' for method lines, expected .* a, b"):
        run(run_component, [{"method": "lines", "sources": ["c"]}], folder)


def test_the_report_counts_and_quotes_what_repeats_most(run_component: Any, tmp_path: Path) -> None:
    """Lines that always come together are one entry; bytes add up to what the documents lost."""
    block = "Redistribution and use in source form\nare permitted provided that the conditions hold"
    texts = [f"{'<b>' * n} text {n}\n{block}\nend {n}" for n in range(7)]
    texts += ["Copyright by the authors of 2020, all", "copyright by the authors of 2021 all"]
    folder = corpus(tmp_path / "c", texts, 3, sources="ab")
    found, _, done = run(run_component, [{"method": "lines"}], folder)
    report = json.loads((done.outputs["report"] / "report.json").read_text())
    most = report["methods"][0]["most_repeated"]
    assert [(entry["occurrences"], entry["quote"]) for entry in most] == [(7, block), (2, texts[7])]
    assert most[0]["first_uri"] == "file0"
    lost = sum(len(text) - len(found[f"file{row}"]) for row, text in enumerate(texts))
    assert lost == report["bytes_cut"] == sum(row["bytes_cut"] for row in report["sources"].values())
    page = (done.outputs["report"] / "report.html").read_text()
    assert "Redistribution and use" in page
    assert "<b><b>" not in page


def test_nothing_in_is_an_error(run_component: Any, tmp_path: Path) -> None:
    for texts in ([], ["  "]):
        folder = corpus(tmp_path / str(len(texts)), texts)
        if texts:
            assert run(run_component, METHODS, folder)[0] == {"file0": "  "}
        else:
            with pytest.raises(ComponentError, match="no documents"):
                run(run_component, METHODS, folder)
