"""Ingesting: shards, ids, held-out documents, counts, and failing loudly."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.corrupting import FORMATS, accident, account, made

from millrace.components import registry
from millrace.components.contract import ComponentError
from millrace.data.documents.shards import document_id, read_shards, shard_paths
from millrace.data.sources import files, records

ENVIRONMENT = {"type": "python_environment", "include": ["click", "six"], "held_out": ["packaging"]}


def rows(folder: Path) -> list[dict[str, Any]]:
    return pa.concat_tables(read_shards(folder)).to_pylist()


def write_corpus(folder: Path, count: int = 200) -> None:
    folder.mkdir()
    lines = [json.dumps({"text": f"Document {index}.", "license": "CC0-1.0"}) for index in range(count)]
    (folder / "a.jsonl").write_text("\n".join(lines))


def test_the_environment_becomes_documents_with_ids_held_out_ones_and_decisions(run_component: Any) -> None:
    sources = {name: {**ENVIRONMENT, "content": name} for name in ("code", "docs", "licences")}
    result = run_component("ingest", {"sources": sources})
    documents, held_out = rows(result.outputs["documents"]), rows(result.outputs["held_out"])
    decisions = rows(result.outputs["decisions"])
    assert all(row["doc_id"] == document_id(row["uri"], row["locator"]) for row in documents + held_out)
    assert {json.loads(row["metadata"])["distribution"] for row in held_out} == {"packaging"}
    assert {row["source"] for row in documents} == {"code", "docs", "licences"}
    kept = {row["doc_id"] for row in decisions if row["action"] == "keep"}
    assert kept == {row["doc_id"] for row in documents + held_out}
    assert result.metrics["documents_out"] == len(documents)
    assert result.metrics["held_out_documents"] == len(held_out)


def test_a_second_run_gives_the_same_bytes(run_component: Any, tmp_path: Path) -> None:
    write_corpus(tmp_path / "my")
    config = {
        "sources": {"web": {"type": "files", "paths": str(tmp_path / "my/*.jsonl"), "held_out_fraction": 0.2}}
    }
    one, two = (run_component("ingest", config).outputs for _ in range(2))
    for port, folder in one.items():
        names = [path.name for path in shard_paths(folder)]
        assert names == [path.name for path in shard_paths(two[port])]
        assert all((folder / name).read_bytes() == (two[port] / name).read_bytes() for name in names)


def test_a_share_of_a_users_documents_is_held_out_by_the_hash_of_their_ids(
    run_component: Any, tmp_path: Path
) -> None:
    write_corpus(tmp_path / "my")
    config = {
        "sources": {
            "web": {"type": "files", "paths": [str(tmp_path / "my/*.jsonl")], "held_out_fraction": 0.2}
        }
    }
    result = run_component("ingest", config)
    held_out = rows(result.outputs["held_out"])
    assert 20 <= len(held_out) <= 60
    assert all(int(row["doc_id"][:8], 16) < 0.2 * 2**32 for row in held_out)
    assert len(held_out) + len(rows(result.outputs["documents"])) == 200
    assert json.loads(held_out[0]["metadata"]) == {"license": "CC0-1.0"}


def test_large_files_become_shards_that_are_bounded_and_numbered(
    run_component: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "PART_BYTES", 1000)
    write_corpus(tmp_path / "my")
    result = run_component(
        "ingest", {"sources": {"web": {"type": "files", "paths": str(tmp_path / "my/*.jsonl")}}}
    )
    names = [path.name for path in shard_paths(result.outputs["documents"])]
    assert names == [f"part-{index:05d}.parquet" for index in range(len(names))]
    assert len(names) == 3
    assert [row["text"] for row in rows(result.outputs["documents"])] == [
        f"Document {i}." for i in range(200)
    ]


def damage(text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "b.jsonl").write_text(text)


def test_bad_records_are_counted_decisions_that_name_file_and_offset(
    run_component: Any, tmp_path: Path
) -> None:
    write_corpus(tmp_path / "my")
    damage('{"text": "good"}\n[]\n')(tmp_path / "my")
    source = {"type": "files", "paths": str(tmp_path / "my/*.jsonl")}
    result = run_component("ingest", {"sources": {"web": source}, "max_bad_fraction": 0.05})
    (bad,) = [row for row in rows(result.outputs["decisions"]) if row["rule"] == "malformed"]
    assert json.loads(bad["evidence"])["locator"] == "17"
    assert json.loads(bad["evidence"])["uri"].endswith("my/b.jsonl")
    assert result.metrics["dropped.malformed"] == 1


def test_too_many_bad_records_fail_with_the_first_of_them(run_component: Any, tmp_path: Path) -> None:
    write_corpus(tmp_path / "my", 3)
    damage("[]\n[]\n")(tmp_path / "my")
    source = {"type": "files", "paths": str(tmp_path / "my/*.jsonl")}
    with pytest.raises(
        ComponentError, match=r"source web: got 2 of 5 records malformed.*b\.jsonl at 0: line 1"
    ):
        run_component("ingest", {"sources": {"web": source}})


def test_a_source_that_nothing_can_be_read_of_says_so_and_why(run_component: Any, tmp_path: Path) -> None:
    """Not how many records its bytes might have been."""
    pq.write_table(pa.table({"text": [b"<p>One</p>", b"<p>Two</p>"]}), tmp_path / "pages.parquet")
    source = {"type": "files", "paths": str(tmp_path / "*.parquet")}
    with pytest.raises(
        ComponentError,
        match=r"source web: got no documents.*got type binary in column 'text' .*expected string",
    ):
        run_component("ingest", {"sources": {"web": source}})


def test_a_source_of_empty_files_or_without_files_fails(run_component: Any, tmp_path: Path) -> None:
    source = {"type": "files", "paths": str(tmp_path / "*.txt")}
    with pytest.raises(ComponentError, match=r"source web: got pattern .* matches no file"):
        run_component("ingest", {"sources": {"web": source}})
    (tmp_path / "a.txt").write_text(" ")
    with pytest.raises(ComponentError, match="source web: got no documents"):
        run_component("ingest", {"sources": {"web": source}})


def test_a_file_in_two_sources_fails(run_component: Any, tmp_path: Path) -> None:
    write_corpus(tmp_path / "my")
    source = {"type": "files", "paths": str(tmp_path / "my/*.jsonl")}
    with pytest.raises(ComponentError, match="in the sources one and two"):
        run_component("ingest", {"sources": {"one": source, "two": source}})


def test_the_fingerprint_changes_with_a_users_file(tmp_path: Path) -> None:
    write_corpus(tmp_path / "my")
    component = registry.get("ingest")
    config = component.config.model_validate(
        {
            "sources": {
                "web": {"type": "files", "paths": str(tmp_path / "my/*.jsonl")},
                "code": {"type": "python_environment", "content": "code"},
            }
        }
    )
    assert component.fingerprint is not None
    before = component.fingerprint(config)
    assert before == json.loads(json.dumps(before))
    damage("x")(tmp_path / "my")
    assert component.fingerprint(config) != before


def test_an_id_that_comes_twice_is_malformed_but_for_the_first(run_component: Any, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        "\n".join(json.dumps({"text": f"text {n}", "id": n % 7}) for n in range(10))
    )
    source = {"type": "files", "paths": str(tmp_path / "*.jsonl"), "id_column": "id"}
    result = run_component("ingest", {"sources": {"web": source}, "max_bad_fraction": 0.5})
    assert [row["text"] for row in rows(result.outputs["documents"])] == [f"text {n}" for n in range(7)]
    bad = [json.loads(row["evidence"])["problem"] for row in rows(result.outputs["decisions"])[7:]]
    assert bad == [f"got id {n} again, expected ids to be unique" for n in range(3)]


@pytest.mark.parametrize("limit", [{"max_documents": 70}, {"max_bytes": 1000}])
def test_a_limit_takes_the_first_documents_whatever_the_parts(
    run_component: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: dict[str, int]
) -> None:
    write_corpus(tmp_path / "my")
    for name in "bcdef":
        (tmp_path / "my" / f"{name}.jsonl").write_bytes((tmp_path / "my/a.jsonl").read_bytes()[: 47 * 20])
    source = {"type": "files", "paths": str(tmp_path / "my/[b-f].jsonl"), **limit}
    found = []
    for part_bytes in (200, 12 * 2**20):
        monkeypatch.setattr(files, "PART_BYTES", part_bytes)
        result = run_component("ingest", {"sources": {"web": source}, "max_bad_fraction": 0.5})
        found.append([row["doc_id"] for row in rows(result.outputs["documents"])])
        assert result.metrics["limit_reached.web"] == 1
    assert found[0] == found[1]
    size = sum(len(row["text"]) for row in rows(result.outputs["documents"]))
    assert len(found[0]) == 70 if "max_documents" in limit else 1000 - 13 < size <= 1000


def test_a_sample_is_a_share_of_the_documents_by_their_ids(run_component: Any, tmp_path: Path) -> None:
    write_corpus(tmp_path / "my")
    source = {"type": "files", "paths": str(tmp_path / "my/*.jsonl"), "sample_fraction": 0.3}
    result = run_component("ingest", {"sources": {"web": source}})
    found = rows(result.outputs["documents"])
    assert all(int(row["doc_id"][8:16], 16) < 0.3 * 2**32 for row in found)
    assert 35 <= len(found) <= 85
    assert result.metrics["sampled_out.web"] == 200 - len(found)


def test_what_corruptions_cost_is_in_the_decisions_and_the_rest_is_read(
    run_component: Any, tmp_path: Path
) -> None:
    draw, made_files = random.Random(7), list(made(1))
    happened = {}
    for number in range(24):
        one, kind, suffix, data = accident(made_files, draw)
        path = tmp_path / f"{number}{suffix}"
        path.write_bytes(data)
        happened[str(path)] = (one, kind)
    source = {"type": "files", "paths": str(tmp_path / "*")}
    result = run_component("ingest", {"sources": {"web": source}, "max_bad_fraction": 1.0})
    found = rows(result.outputs["documents"])
    decisions = rows(result.outputs["decisions"])
    places = [json.loads(row["evidence"])["uri"] for row in decisions if row["action"] == "drop"]
    assert sum(row["action"] == "keep" for row in decisions) == len(found)
    for uri, (one, kind) in happened.items():
        texts = [row["text"] for row in found if row["uri"].split("!/")[0] == uri]
        account(one, kind, texts, any(place.split("!/")[0] == uri for place in places))


def test_pages_and_web_archives_become_documents_with_addresses_the_same_every_time(
    run_component: Any, tmp_path: Path
) -> None:
    texts = [f"Document {n} says that the river rose in the night." for n in range(12)]
    for n, text in enumerate(texts[:6]):
        (tmp_path / f"{n}.html").write_bytes(FORMATS[".html"]([text]))
    archive = FORMATS[".warc"](texts[6:])
    (tmp_path / "a.warc").write_bytes(
        archive + archive.replace(b" 200 OK", b" 404 No").replace(b"\r\n64", b"")
    )
    source = {"type": "files", "paths": str(tmp_path / "*")}
    results = [run_component("ingest", {"sources": {"web": source}}) for _ in range(2)]
    found = rows(results[0].outputs["documents"])
    assert found == rows(results[1].outputs["documents"])
    assert sorted(row["text"] for row in found) == sorted(texts)
    addresses = [json.loads(row["metadata"]).get("url") for row in found]
    assert [url for url in addresses if url] == [f"https://example.org/{n}" for n in range(6)]
    dropped = [row for row in rows(results[0].outputs["decisions"]) if row["action"] == "drop"]
    assert {row["rule"] for row in dropped} == {"skipped"}
    assert len(dropped) == 6


def test_what_cannot_be_counted_counts_as_the_records_that_its_bytes_would_be(
    run_component: Any, tmp_path: Path
) -> None:
    write_corpus(tmp_path / "my", 1000)
    table = pa.table({"text": [f"Document {index}." for index in range(500)]})
    pq.write_table(table.rename_columns(["body"]), tmp_path / "my/b.parquet", compression="none")
    source = {"type": "files", "paths": str(tmp_path / "my/*")}
    with pytest.raises(
        ComponentError, match=r"got \d{3} of 1\d{3} records malformed.*expected a column 'text'"
    ):
        run_component("ingest", {"sources": {"web": source}, "max_bad_fraction": 0.2})
