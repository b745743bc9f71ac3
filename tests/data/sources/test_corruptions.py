"""Whatever happens to a file: no crash, no hang, and no document lost silently."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from tests.corrupting import accident, account, made, read_file

FILES = list(made(1))


@pytest.mark.parametrize("place", range(len(FILES)), ids=[one.suffix.strip(".") for one in FILES])
def test_every_format_compression_and_archive_gives_its_documents_in_order(
    tmp_path: Path, place: int
) -> None:
    path = tmp_path / f"a{FILES[place].suffix}"
    path.write_bytes(FILES[place].data)
    assert read_file(path) == (FILES[place].texts, [])


def damage_and_read(folder: Path, seed: int, count: int) -> Counter[str]:
    """What became of the files of so many accidents."""
    draw = random.Random(seed)
    found = Counter[str]()
    for number in range(count):
        one, kind, suffix, data = accident(FILES, draw)
        path = folder / f"{number}{suffix}"
        path.write_bytes(data)
        texts, bad = read_file(path)
        found[account(one, kind, texts, bool(bad))] += 1
        path.unlink()
    return found


def test_after_a_thousand_corruptions_every_loss_is_accounted_for(tmp_path: Path) -> None:
    found = damage_and_read(tmp_path, 0, 1000)
    assert found.total() == 1000
    assert found["decided"] > 800


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 5))
def test_after_ten_thousand_corruptions_every_loss_is_accounted_for(tmp_path: Path, seed: int) -> None:
    assert damage_and_read(tmp_path, seed, 10_000).total() == 10_000
