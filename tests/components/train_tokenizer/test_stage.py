"""The tokenizer stage: repeatable, independent of shards, weighted, and clear about what it cannot do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from millrace.components.contract import ComponentError
from millrace.components.train_tokenizer.config import TrainTokenizerConfig
from millrace.data.documents import shards as documents
from millrace.data.tokenizer.tokenizer import Tokenizer

SOURCES = sorted(Path(json.__file__).parent.glob("*.py"))


def corpus(folder: Path, shards: int) -> Path:
    """Some of the standard library's code and some prose, over so many shards."""
    rows = [
        {"text": path.read_text(), "source": "code", "uri": path.name}
        for path in SOURCES
        if path.stat().st_size
    ]
    rows += [
        {"text": f"It was day {i} of the voyage.\n" * 20, "source": "prose", "uri": str(i)} for i in range(20)
    ]
    filled = [
        {"lang": "", "locator": "", "metadata": "{}", **row, "doc_id": documents.document_id(row["uri"], "")}
        for row in rows
    ]
    folder.mkdir()
    size = -(-len(filled) // shards)
    for index in range(shards):
        part = filled[index * size : (index + 1) * size]
        documents.write_shard(folder / documents.shard_name(index), documents.documents_table(part))
    return folder


def test_equal_documents_give_equal_bytes(run_component: Any, tmp_path: Path) -> None:
    """How the documents are cut into shards does not show in the tokenizer."""
    config = {"vocab_size": 500, "sample_bytes": 40_000, "fertility_bytes": 5_000}
    outputs = [
        run_component("train_tokenizer", config, {"documents": corpus(tmp_path / f"c{n}", n)}) for n in (1, 3)
    ]
    files = [{p.name: p.read_bytes() for p in o.outputs["tokenizer"].iterdir()} for o in outputs]
    assert files[0] == files[1]
    assert set(files[0]) == {"tokenizer.model", "tokenizer.json"}
    facts = json.loads(files[0]["tokenizer.json"])
    loaded = Tokenizer.load(outputs[0].outputs["tokenizer"])
    assert facts["vocab_size"] == loaded.vocab_size == outputs[0].metrics["vocab_size"] == 500
    assert set(facts["fertility"]) == {"code", "prose"}
    assert outputs[0].metrics["bytes_per_token"] > 1.3


def test_one_document_gives_no_more_than_its_share_to_the_sample(run_component: Any, tmp_path: Path) -> None:
    """With few bytes from each, all documents are in the sample, none with more."""
    config = {"vocab_size": 400, "max_document_bytes": 120, "algorithm": "bpe", "fertility_bytes": 1_000}
    done = run_component("train_tokenizer", config, {"documents": corpus(tmp_path / "c", 1)})
    sample = json.loads((done.outputs["report"] / "report.json").read_text())["sample"]
    assert sum(row["documents"] for row in sample) == len(SOURCES) + 20
    assert all(0 < row["bytes"] <= 120 * row["documents"] for row in sample)


def test_weights_choose_the_sample(run_component: Any, tmp_path: Path) -> None:
    """A source without weight gives nothing to the sample."""
    config = {"vocab_size": 400, "sample_bytes": 3_000, "weights": {"prose": 1.0}, "algorithm": "bpe"}
    done = run_component("train_tokenizer", config, {"documents": corpus(tmp_path / "c", 1)})
    facts = json.loads((done.outputs["tokenizer"] / "tokenizer.json").read_text())
    assert facts["sample_bytes"] == {"code": 0, "prose": 3_000}
    assert facts["fertility"]["prose"]["bytes_per_token"] > facts["fertility"]["code"]["bytes_per_token"]


@pytest.mark.parametrize(
    ("config", "message"),
    [({"weights": {"books": 1.0}}, "books.*code, prose"), ({"vocab_size": 300}, "300 ids")],
)
def test_impossible_wishes_are_clear_errors(
    run_component: Any, tmp_path: Path, config: dict, message: str
) -> None:
    """A weight for a source that is not there, or too few ids, is refused with what to do."""
    with pytest.raises(ComponentError, match=message):
        run_component("train_tokenizer", config, {"documents": corpus(tmp_path / "c", 1)})


def languages(folder: Path) -> Path:
    """One source in three languages, one of them ten times as large."""
    rows = []
    for lang, line, count in (
        ("en", "The ship sailed on day {i} of the long voyage.\n", 2000),
        ("de", "Das Schiff fuhr am Tag {i} der langen Reise.\n", 200),
        ("zh", "这艘船在漫长航程的第{i}天航行。\n", 200),
    ):
        rows += [{"text": line.format(i=i) * 2, "lang": lang, "uri": f"{lang}{i}"} for i in range(count)]
    filled = [
        {"source": "books", "locator": "", "metadata": "{}", **row}
        | {"doc_id": documents.document_id(row["uri"], "")}
        for row in rows
    ]
    folder.mkdir()
    documents.write_shard(folder / documents.shard_name(0), documents.documents_table(filled))
    return folder


def test_temperature_gives_small_languages_more(run_component: Any, tmp_path: Path) -> None:
    """With alpha below one small languages get more of the sample, with zero all the same, by the formula."""
    corpus_folder = languages(tmp_path / "c")
    found = {}
    for alpha in (1.0, 0.5, 0.0):
        config = {
            "vocab_size": 400,
            "sample_bytes": 30_000,
            "language_alpha": alpha,
            "fertility_bytes": 2_000,
        }
        report = run_component("train_tokenizer", config, {"documents": corpus_folder}).outputs["report"]
        rows = json.loads((report / "report.json").read_text())["sample"]
        found[alpha] = {row["language"]: row["bytes"] for row in rows}
    assert found[1.0]["en"] > 6 * found[1.0].get("de", 0)
    assert found[0.0] == {"de": 10_000, "en": 10_000, "zh": 10_000}
    sizes = {"en": 0, "de": 0, "zh": 0}
    for table in documents.read_shards(corpus_folder):
        for row in table.to_pylist():
            sizes[row["lang"]] += len(row["text"].encode())
    roots = {lang: size**0.5 for lang, size in sizes.items()}
    for lang, root in roots.items():
        assert found[0.5][lang] == pytest.approx(30_000 * root / sum(roots.values()), abs=2)


def test_the_report_says_how_text_is_cut(run_component: Any, tmp_path: Path) -> None:
    """Sources, languages, smaller sizes and pieces are in the report, and its page is small and whole."""
    config = {"vocab_size": 420, "sample_bytes": 30_000, "algorithm": "bpe", "compared_sizes": [0.1, 0.9]}
    done = run_component("train_tokenizer", config, {"documents": languages(tmp_path / "c")})
    report = json.loads((done.outputs["report"] / "report.json").read_text())
    assert set(report["sources"]) == {"books"}
    assert set(report["languages"]) == {"de", "en", "zh"}
    assert report["languages"]["zh"]["tokens_per_word"] > report["languages"]["en"]["tokens_per_word"]
    assert report["sources"]["books"]["unknown_share"] == 0
    assert [row["vocab_size"] for row in report["sizes"]] == [378, 420]  # 42 ids do not hold the bytes
    assert report["sizes"][0]["bytes_per_token"] < report["sizes"][1]["bytes_per_token"]
    assert report["sizes"][1]["bytes_per_token"] == pytest.approx(done.metrics["bytes_per_token"])
    assert report["pieces"]["most_used"][0]["count"] > 0
    page = (done.outputs["report"] / "report.html").read_text()
    assert page.count("<table>") == page.count("</table>") == 6
    assert len(page) < 100_000


def test_control_tokens_can_be_named(run_component: Any, tmp_path: Path) -> None:
    """Modalities and further control tokens come after the chat's and are control tokens like them."""
    config = {
        "vocab_size": 500,
        "modalities": ["image"],
        "control_tokens": ["tool_call"],
        "reserved_tokens": 2,
    }
    done = run_component("train_tokenizer", config, {"documents": corpus(tmp_path / "c", 1)})
    loaded = Tokenizer.load(done.outputs["tokenizer"])
    names = ["image_begin", "image", "image_end", "tool_call", "reserved_0", "reserved_1"]
    assert [loaded.special[f"<|{name}|>"] for name in names] == list(range(7, 13))
    assert not {loaded.special[f"<|{name}|>"] for name in names} & set(
        loaded.encode("<|image|> <|tool_call|>")
    )
    with pytest.raises(ValidationError, match="image twice"):
        run_component("train_tokenizer", {"modalities": ["image"], "control_tokens": ["image"]})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"character_coverage": 0.95}, "greater than or equal to 0.98"),
        ({"vocab_size": 300, "reserved_tokens": 100}, "more than the 364 ids"),
        ({"weights": {"a": 0.0}}, "weights that are all 0"),
        ({"weights": {"a": -1.0}}, "greater than or equal to 0"),
    ],
)
def test_wishes_that_no_text_could_fulfil_are_refused_before_the_run(
    config: dict[str, object], message: str
) -> None:
    """SentencePiece itself takes no coverage below 0.98, and no vocabulary smaller than its fixed ids."""
    with pytest.raises(ValidationError, match=message):
        TrainTokenizerConfig.model_validate(config)
