"""ArrayRecord files: what a record is, ranges, and that damage costs the chunks that it touches and no process."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from array_record.python.array_record_module import ArrayRecordWriter

from millrace.data.sources import files
from millrace.data.sources.formats import arrayrecord
from millrace.data.sources.formats.registry import format_of_name, split_name
from millrace.data.sources.records import Columns, Malformed, Options, Record, SourceError
from millrace.data.sources.tables.tf_example import _example, example_values

WORDS = [f"w{index}" for index in range(3000)]


def write(path: Path, records: Sequence[bytes], group: int = 1) -> Path:
    writer = ArrayRecordWriter(str(path), f"group_size:{group}")
    for record in records:
        writer.write(record)
    writer.close()
    return path


def read(path: Path | str, **options: Any) -> list[Record | Malformed]:
    return [
        item
        for part in files.plan([str(path)], Options(**options))
        for item in files.read(part)
        if isinstance(item, Record | Malformed)
    ]


def texts(found: Sequence[Record | Malformed]) -> list[str]:
    return [item.text for item in found if isinstance(item, Record)]


def example(**features: Any) -> bytes:
    """A serialised example of strings, integers, and lists of them; ``meta__url`` is ``meta/url``."""
    message = _example()()
    for name, value in features.items():
        feature = message.features.feature[name.replace("__", "/")]
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, int):
                feature.int64_list.value.append(one)
            else:
                feature.bytes_list.value.append(one if isinstance(one, bytes) else one.encode())
    return bytes(message.SerializeToString())


def prose(count: int, words: int = 120) -> list[bytes]:
    draw = random.Random(count)
    return [f"{index} {' '.join(draw.choices(WORDS, k=words))}".encode() for index in range(count)]


def test_records_are_texts_json_objects_or_examples(tmp_path: Path) -> None:
    columns = Columns(id="key", metadata=("url",))
    rows = [{"text": f"Text {index} — é", "key": f"k{index}", "url": "u"} for index in range(3)]
    for records in ([json.dumps(row).encode() for row in rows], [example(**row) for row in rows]):
        found = read(write(tmp_path / "a.array_record", records), columns=columns)
        assert [(item.text, item.key, item.metadata) for item in found if isinstance(item, Record)] == [
            (row["text"], f"id={row['key']}", {"id": row["key"], "url": "u"}) for row in rows
        ]
    path = write(tmp_path / "a.array_record", ["Straße\r\n".encode(), b" ", b"{}", b"a\0b"])
    found = read(path)
    assert [(item.text, item.locator) for item in found if isinstance(item, Record)] == [
        ("Straße\n", "0"),
        ("{}", "2"),
    ]
    assert [item.rule for item in found if isinstance(item, Malformed)] == ["empty", "malformed"]
    assert texts(read(path, records="json", columns=Columns("text"))) == []


def test_an_example_gives_the_wanted_features_with_their_types() -> None:
    record = example(text="é", n=3, many=[1, 2], meta__url="u", none=[])
    assert example_values(record, ["text", "n", "many", "meta/url", "none", "other"]) == {
        "text": "é",
        "n": 3,
        "many": [1, 2],
        "meta/url": "u",
        "none": None,
    }
    assert sorted(example_values(record, ["other"])) == ["many", "meta/url", "n", "none", "text"]
    for wrong, problem in (
        (b"\nno", "no tf.train.Example"),
        (b"", "without features"),
        (example(text=b"\xff"), r"invalid UTF-8 .* in feature 'text'"),
    ):
        with pytest.raises(ValueError, match=problem):
            example_values(wrong, ["text"])


def test_an_example_without_the_text_names_its_features(tmp_path: Path) -> None:
    (bad,) = read(write(tmp_path / "a.array_record", [example(body="x", n=1)]))
    assert isinstance(bad, Malformed)
    assert bad.problem == "record 0: got columns body, n, expected a text column 'text'"


@pytest.mark.parametrize("group", [1, 7, 1000])
@pytest.mark.parametrize("part_bytes", [1000, 20_000])
def test_ranges_give_every_record_once_and_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: int, part_bytes: int
) -> None:
    records = prose(500)
    path = write(tmp_path / "a.array_record", records, group)
    monkeypatch.setattr(files, "PART_BYTES", part_bytes)
    monkeypatch.setattr(arrayrecord, "BLOCK_RECORDS", 30)
    assert len(files.plan([str(path)])) > 3
    found = read(path)
    assert texts(found) == [record.decode() for record in records]
    assert [item.locator for item in found] == [str(index) for index in range(500)]


def test_other_places_names_and_bytes_are_read_as_well(tmp_path: Path) -> None:
    import fsspec

    path = write(tmp_path / "a.array_record", prose(5))
    expected = texts(read(path))
    (tmp_path / "b.arrayrecord.gz").write_bytes(gzip.compress(path.read_bytes()))
    (tmp_path / "c.jsonl").write_bytes(path.read_bytes())
    fsspec.filesystem("memory").pipe("/records/a.array_record-00000-of-00001", path.read_bytes())
    for other in (tmp_path / "b.arrayrecord.gz", tmp_path / "c.jsonl", "memory://records/*"):
        assert texts(read(other)) == expected
    assert format_of_name(split_name("x-train.array_record-00000-of-00016")[0]) == "arrayrecord"
    assert split_name("x.jsonl.gz-00001-of-00002") == ("x.jsonl", "gzip")


def test_a_file_without_records_or_without_its_index_is_a_decision(tmp_path: Path) -> None:
    path = write(tmp_path / "a.array_record", [])
    (empty,) = read(path)
    assert isinstance(empty, Malformed)
    assert empty.rule == "empty"
    whole = write(path, prose(300)).read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:9000] + whole[9001:], whole[:64] + b"x" + whole[64:]):
        path.write_bytes(damaged)
        (bad,) = read(path)
        assert isinstance(bad, Malformed)
        assert (bad.is_stretch, "no index at its end" in bad.problem) == (True, True)


def test_a_corrupt_chunk_costs_its_records_and_says_which(tmp_path: Path) -> None:
    records = prose(200)
    path = write(tmp_path / "a.array_record", records, 10)
    data = bytearray(path.read_bytes())
    data[len(data) // 6] ^= 1
    path.write_bytes(data)
    found = read(path)
    lost = [int(item.locator) for item in found if isinstance(item, Malformed)]
    assert lost == list(range(lost[0] // 10 * 10, lost[0] // 10 * 10 + 10))
    assert texts(found) == [record.decode() for number, record in enumerate(records) if number not in lost]


def test_no_accident_ends_the_process_or_changes_a_record(tmp_path: Path) -> None:
    draw = random.Random(0)
    originals = {group: [record.decode() for record in prose(300, 60 + group)] for group in (1, 20)}
    data = {
        group: write(tmp_path / f"{group}.array_record", [text.encode() for text in own], group).read_bytes()
        for group, own in originals.items()
    }
    wanted = {}
    for number in range(240):
        group = (1, 20)[number % 2]
        path = tmp_path / f"{number}.array_record"
        path.write_bytes(accident(data[group], draw))
        wanted[str(path)] = originals[group]
    # Only a process of its own can tell that the library ends the process.
    done = subprocess.run(
        [sys.executable, "-c", READ_ALL, *wanted], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    for originals_of, line in zip(wanted.values(), done.stdout.splitlines(), strict=True):
        found = json.loads(line)
        assert found
        assert all(text == originals_of[int(locator)] for locator, text in found if text is not None)


READ_ALL = """
import json, sys
from millrace.data.sources import files
from millrace.data.sources.records import Options
for path in sys.argv[1:]:
    found = [item for part in files.plan([path], Options()) for item in files.read(part)]
    print(json.dumps([(item.locator, getattr(item, "text", None)) for item in found]))
"""


def accident(data: bytes, draw: random.Random) -> bytes:
    """A damaged file; half of the accidents are in its index, at its end."""
    at = draw.choice(
        [draw.randrange(64, len(data) // 3), len(data) - 1 - draw.randrange(66_000), draw.randrange(64)]
    )
    kind = draw.choice(["bit", "zeros", "random", "cut", "insert", "missing"])
    changed = {
        "bit": bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :],
        "zeros": bytes(len(data[at : at + 300])) + data[at + 300 :],
        "random": draw.randbytes(len(data[at : at + 100])) + data[at + 100 :],
        "cut": b"",
        "insert": draw.randbytes(5) + data[at:],
        "missing": data[at + 50 :],
    }
    return data[:at] + changed[kind]


def test_without_the_library_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.array_record", prose(5))
    monkeypatch.setitem(sys.modules, "array_record.python.array_record_module", None)
    with pytest.raises(SourceError, match=r"array_record is not installed; .*pip install 'millrace\[tfds\]'"):
        read(path)
