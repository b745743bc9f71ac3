"""The sample of decontaminate: the same documents however the corpus is cut into shards, each by its beginning."""

from __future__ import annotations

from pathlib import Path

import pytest

from millrace.components.decontaminate.sample import SAMPLE_BYTES, read_sample, take_sample
from millrace.data.documents.shards import document_id, documents_table, shard_name, write_shard


def shard(folder: Path, number: int, texts: list[str]) -> tuple[int, str]:
    rows = [
        {"doc_id": document_id(text, ""), "text": text, "source": "s", "uri": text[:9]}
        | {"lang": "en", "locator": "", "metadata": "{}"}
        for text in texts
    ]
    path = folder / shard_name(number)
    write_shard(path, documents_table(rows))
    return number, str(path)


def sampled(folder: Path, cuts: list[list[str]], share: float, seed: int = 0) -> list[str]:
    folder.mkdir()
    tasks = [shard(folder, number, texts) for number, texts in enumerate(cuts)]
    counts = [take_sample(str(folder), share, seed, task) for task in tasks]
    found = read_sample(folder, len(cuts))
    assert sum(counts) == len(found)
    return found


def test_the_sample_does_not_depend_on_the_shards(tmp_path: Path) -> None:
    texts = [f"document {number}" for number in range(200)]
    one = sampled(tmp_path / "one", [texts], 0.3)
    many = sampled(tmp_path / "many", [texts[150:], [], texts[:150]], 0.3)
    assert one == many
    assert 30 < len(one) < 90
    assert sampled(tmp_path / "other", [texts], 0.3, seed=1) != one
    assert set(one) <= set(sampled(tmp_path / "more", [texts], 0.6))
    assert len(sampled(tmp_path / "all", [texts], 1.0)) == 200


@pytest.mark.parametrize("lead", ["", "a", "aa"])
def test_a_long_document_gives_its_beginning_in_whole_characters(tmp_path: Path, lead: str) -> None:
    text = lead + "€" * SAMPLE_BYTES
    (found,) = sampled(tmp_path / "in", [[text]], 1.0)
    assert text.startswith(found)
    assert SAMPLE_BYTES - 3 < len(found.encode()) <= SAMPLE_BYTES
