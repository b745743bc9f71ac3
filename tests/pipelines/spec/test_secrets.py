"""Secrets are refused where they stand, and nothing else is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from millrace.pipelines.spec import check
from millrace.pipelines.spec.source_map import SpecError

SIGNED = [
    "https://bucket.s3.amazonaws.com/a.jsonl?X-Amz-Algorithm=AWS4&X-Amz-Signature=abcdef0123",
    "https://storage.googleapis.com/b/a?x-goog-signature=0123456",
    "https://account.blob.core.windows.net/c/a?sv=2024&sig=abc%2Bdef",
    "https://example.org/data.jsonl?token=abcdefgh",
    "https://example.org/data.jsonl?version=3&api_key=abcdefgh",
    "s3://key:secret@bucket/a",
    "redis://:pw@host",
]
SOUND = [
    "https://example.org/data.jsonl?version=3",
    "data/token=abcdef/*.jsonl",
    "s3://bucket/a?b*",
    "hf://datasets/a/b@main/c.parquet",
    "gs://bucket/signature=none/a.jsonl",
    "a text: who has the key=value of it? token=none",
]


def spec(folder: Path, paths: list[str], **top: Any) -> Path:
    """A spec that reads these files."""
    source = {"type": "files", "paths": paths}
    stages = {"ingest": {"uses": "ingest", "with": {"sources": {"web": source}}}}
    path = folder / "pipeline.yaml"
    path.write_text(json.dumps({"name": "p", "stages": stages, **top}))
    return path


@pytest.mark.parametrize("address", SIGNED)
def test_an_address_with_a_secret_is_refused_with_the_way_to_do_it(tmp_path: Path, address: str) -> None:
    with pytest.raises(SpecError) as caught:
        check.load(spec(tmp_path, ["a.jsonl", address], store=address))
    assert {mistake.path for mistake in caught.value.mistakes} == {
        "store",
        "stages.ingest.with.sources.web.paths.1",
    }
    assert all("environment variable" in str(mistake) for mistake in caught.value.mistakes)
    assert address not in str(caught.value)


@pytest.mark.parametrize("address", SOUND)
def test_other_addresses_are_allowed(tmp_path: Path, address: str) -> None:
    check.load(spec(tmp_path, [address]))


def test_a_value_whose_name_is_that_of_a_secret_is_refused_beside_other_mistakes(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        check.load(spec(tmp_path, ["a"], beam={"options": {"access_token": "abc"}}, seed=-1))
    assert {mistake.path for mistake in caught.value.mistakes} == {"beam.options.access_token", "seed"}
