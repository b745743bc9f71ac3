"""Writing a first spec: what is found in a user's documents, and that every spec that comes out is one."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import os
import random
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from array_record.python.array_record_module import ArrayRecordWriter
from tests.corrupting import FORMATS

from millrace.components.contract import ComponentError
from millrace.pipelines.engines import kfp
from millrace.pipelines.spec import check
from millrace.pipelines.spec import init as starting
from millrace.pipelines.spec.survey import source_names, survey

ROOT = Path(__file__).parents[3]
WORDS = [
    "the",
    "mill",
    "and",
    "its",
    "wheel",
    "turn",
    "with",
    "water",
    "that",
    "falls",
    "to",
    "be",
    "stored",
    "in",
    "a",
    "pond",
    "of",
    "stone",
]


def prose(number: int, words: int = 120) -> str:
    """Different text for each number, which the filter's rules let pass."""
    picked = [
        WORDS[(number * 7 + at * (number % 5 + 1) + at // 7) % len(WORDS)]
        + (str(number) if at % 9 == 4 else "")
        for at in range(words)
    ]
    return " ".join(picked).capitalize() + ".\n\n" + " ".join(reversed(picked)) + "."


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def rows(count: int = 200, **more: Any) -> list[dict[str, Any]]:
    return [
        {"body": prose(n), "doc_id": f"d{n}", "title": f"No. {n}", "lang": "en", "license": "CC0-1.0", **more}
        for n in range(count)
    ]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_columns_are_found_by_name_and_by_what_they_hold(folder: Path) -> None:
    write_jsonl(folder / "a.jsonl", rows())
    found = survey("a", ["*.jsonl"])
    assert (found.text_column, found.id_column) == ("body", "doc_id")
    assert (found.language_column, found.licence_column) == ("lang", "license")
    assert (found.documents, found.is_exact, found.is_code) == (200, True, False)
    assert found.text_bytes == sum(len(row["body"].encode()) for row in rows())


def test_without_a_known_name_the_longest_strings_are_the_text_and_repeated_ids_are_none(
    folder: Path,
) -> None:
    write_jsonl(folder / "a.jsonl", [{"id": n % 5, "kopf": "x", "prosa": prose(n)} for n in range(50)])
    found = survey("a", ["a.jsonl"])
    assert (found.text_column, found.id_column) == ("prosa", None)


def test_parquet_compressed_lines_and_text_files_are_read_alike(folder: Path) -> None:
    texts = [prose(n) for n in range(40)]
    pq.write_table(pa.table({"content": texts}), folder / "a.parquet")
    (folder / "b.jsonl.gz").write_bytes(
        gzip.compress("".join(json.dumps({"content": t}) + "\n" for t in texts).encode())
    )
    for n, text in enumerate(texts):
        (folder / f"c{n}.txt").write_text(text)
    sizes = {survey("x", [pattern]).text_bytes for pattern in ("a.parquet", "b.jsonl.gz", "*.txt")}
    assert sizes == {sum(map(len, texts))}


@pytest.mark.parametrize("suffix", [".json", ".csv.bz2", ".tsv", ".arrow", ".parquet.gz", ".tar.gz", ".zip"])
def test_every_format_and_archive_is_looked_into(folder: Path, suffix: str) -> None:
    rows = [{"content": prose(n), "id": f"k{n}"} for n in range(40)]
    table = pa.Table.from_pylist(rows)
    packed, text = io.BytesIO(), io.StringIO()
    writer = csv.DictWriter(text, ["content", "id"], delimiter="\t" if suffix == ".tsv" else ",")
    writer.writeheader()
    writer.writerows(rows)
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    if suffix == ".arrow":
        with pa.ipc.new_file(packed, table.schema) as arrow:
            arrow.write_table(table)
    elif suffix == ".parquet.gz":
        pq.write_table(table, packed)
    elif suffix == ".tar.gz":
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            info = tarfile.TarInfo("inside/a.jsonl")
            info.size = len(lines)
            tar.addfile(info, io.BytesIO(lines))
    elif suffix == ".zip":
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("inside/a.jsonl.gz", gzip.compress(lines))
            archive.writestr("inside/photo.jpg", b"x")
    data = {
        ".json": json.dumps(rows).encode(),
        ".csv.bz2": bz2.compress(text.getvalue().encode()),
        ".tsv": text.getvalue().encode(),
        ".parquet.gz": gzip.compress(packed.getvalue()),
    }
    (folder / f"a{suffix}").write_bytes(data.get(suffix, packed.getvalue()))
    found = survey("x", ["a*"])
    assert (found.text_column, found.id_column, found.documents) == ("content", "id", 40)
    assert found.text_bytes == sum(len(row["content"]) for row in rows)
    assert found.is_exact


@pytest.mark.parametrize("suffix", [".html", ".warc.gz", ".wet"])
def test_pages_and_web_archives_are_looked_into_as_they_are_read(folder: Path, suffix: str) -> None:
    texts = [" ".join(prose(n).split()) for n in range(20)]
    kind = suffix.removesuffix(".gz")
    if kind == ".html":
        for n, text in enumerate(texts):
            (folder / f"{n}.html").write_bytes(FORMATS[kind]([text]))
    else:
        data = FORMATS[kind](texts)
        (folder / f"a{suffix}").write_bytes(gzip.compress(data) if suffix.endswith("gz") else data)
    found = survey("x", [f"*{suffix}"])
    assert (found.documents, found.text_column, found.bad_fraction) == (20, None, 0)
    assert found.text_bytes == sum(map(len, texts))
    assert found.is_exact


def test_a_large_file_is_estimated_from_its_beginning(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("millrace.pipelines.spec.survey.SAMPLE_BYTES", 20_000)
    write_jsonl(folder / "a.jsonl", rows(600))
    found = survey("a", ["a.jsonl"])
    assert not found.is_exact
    assert found.documents == pytest.approx(600, rel=0.1)


def test_python_files_and_python_in_columns_are_code(folder: Path) -> None:
    code = [f"import os\n\n\ndef f{n}(path):\n    return os.path.join(path, '{n}')\n" for n in range(30)]
    write_jsonl(folder / "a.jsonl", [{"text": text} for text in code])
    (folder / "b.py").write_text(code[0])
    assert survey("a", ["a.jsonl"]).is_code
    assert survey("b", ["*.py"]).is_code


def test_empty_and_undecodable_files_are_counted_so_that_the_spec_lets_them_be(folder: Path) -> None:
    make_code(folder)
    for n in range(5):
        (folder / "src" / f"empty{n}.py").touch()
    (folder / "src" / "latin.py").write_bytes(b"# \xe9")
    text, found = starting.documents_spec(["src/**/*.py"], [], folder)
    assert yaml.safe_load(text)["stages"]["ingest"]["with"]["max_bad_fraction"] > 6 / 66
    assert any(line.endswith("% of the records hold no text") for line in found)


def test_sources_are_named_after_their_patterns() -> None:
    patterns = ["my/*.jsonl", "s3://b/Web Pages.jsonl.gz", "2024/*", "other/my/*.txt", "**/*.md"]
    assert source_names(patterns) == ["my", "web_pages", "source_2024", "my_2", "documents"]


def check_and_compile(text: str, folder: Path) -> Any:
    (folder / "pipeline.yaml").write_text(text)
    pipeline = check.load(folder / "pipeline.yaml", store="s3://bucket/store")
    assert not check.warnings(pipeline)
    kfp.compile_pipeline(pipeline, folder / "pipeline.kfp.yaml", image="millrace")
    return pipeline


def make_prose(folder: Path) -> list[str]:
    write_jsonl(folder / "notes.jsonl", rows())
    return ["notes.jsonl"]


def make_code(folder: Path) -> list[str]:
    (folder / "src").mkdir()
    for n in range(60):
        (folder / "src" / f"m{n}.py").write_text(
            "".join(
                f'def f{n}_{k}(a):\n    """Adds {k} to a."""\n    return a + {k}\n\n\n' for k in range(20)
            )
        )
    return ["src/**/*.py"]


def make_mixed(folder: Path) -> list[str]:
    write_jsonl(
        folder / 'a "b" $x.jsonl',
        [{"text": "短い文です。" * 9 + str(n), "language": "ja"} for n in range(400)],
    )
    return [*make_prose(folder), 'a "b" $x.jsonl']


@pytest.mark.parametrize("make", [make_prose, make_code, make_mixed])
@pytest.mark.parametrize("with_benchmark", [False, True])
def test_every_spec_that_init_writes_checks_and_compiles(
    make: Callable[[Path], list[str]], with_benchmark: bool, folder: Path
) -> None:
    patterns = make(folder)
    questions = [
        {"id": str(n), "prompt": "What turns?", "choices": ["The wheel.", "The pond."], "answer": 0}
        for n in range(5)
    ]
    write_jsonl(folder / "my_eval.jsonl", questions)
    text, _ = starting.documents_spec(patterns, ["my_eval.jsonl"] if with_benchmark else [], folder)
    pipeline = check_and_compile(text, folder)
    sources = pipeline.nodes["ingest"].config.sources
    assert [list(source.paths) for source in sources.values()] == [[pattern] for pattern in patterns]
    assert pipeline.nodes["benchmarks"].config.files == (
        {"my_eval": "my_eval.jsonl"} if with_benchmark else {}
    )
    assert set(pipeline.nodes["pretrain"].config.phases[0].weights) == set(sources)


def test_bounds_that_would_drop_much_are_switched_off_and_the_spec_says_so(folder: Path) -> None:
    write_jsonl(folder / "notes.jsonl", [{"text": prose(n, 20)} for n in range(400)])
    text, found = starting.documents_spec(["notes.jsonl"], [], folder)
    rules = yaml.safe_load(text)["stages"]["filter"]["with"]["rules"]["notes"]
    assert {rule["rule"]: rule for rule in rules}["gopher_quality"]["min_words"] is None
    assert "min_words: null   # the usual bound would drop 100% of a sample" in text
    assert any("switched off: min_words" in line for line in found)


def test_paths_count_from_the_folder_of_the_spec(folder: Path) -> None:
    make_prose(folder)
    (folder / "specs").mkdir()
    text, _ = starting.documents_spec(["notes.jsonl"], [], folder / "specs")
    assert yaml.safe_load(text)["stages"]["ingest"]["with"]["sources"]["notes"]["paths"] == ["../notes.jsonl"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "short"}\n', "got 1 documents with 5 bytes of text, expected at least 20"),
        ('{"number": 1}\n', "got the columns number, expected one with text"),
        ("", "got no record"),
    ],
)
def test_documents_that_cannot_be_used_are_refused_in_one_sentence(
    content: str, message: str, folder: Path
) -> None:
    (folder / "a.jsonl").write_text(content)
    with pytest.raises(ComponentError, match=message):
        starting.documents_spec(["a.jsonl"], [], folder)


def test_a_benchmark_that_cannot_be_used_is_refused_with_its_line(folder: Path) -> None:
    make_prose(folder)
    write_jsonl(folder / "eval.jsonl", [{"id": 1, "prompt": "?", "choices": ["a", "b"], "answer": 2}])
    with pytest.raises(ComponentError, match=r"eval.jsonl:1: got answer 2, expected the index"):
        starting.documents_spec(["notes.jsonl"], ["eval.jsonl"], folder)


def test_the_reference_spec_of_the_package_is_that_of_the_repository() -> None:
    assert starting.reference_spec() == (ROOT / "pipeline.yaml").read_text()


def test_the_reference_spec_checks_and_compiles(folder: Path) -> None:
    pipeline = check_and_compile(starting.reference_spec(), folder)
    assert list(check.profiles(pipeline, folder / "pipeline.yaml")) == []


@pytest.mark.slow
def test_the_spec_for_a_small_corpus_runs_to_a_package(folder: Path) -> None:
    draw = random.Random(3)
    words = ["".join(draw.choices("abcdefghiklmnoprstu", k=draw.randint(3, 8))) for _ in range(4000)]

    def sentence() -> str:
        picked = (draw.choice(WORDS if draw.random() < 0.4 else words) for _ in range(12))
        return " ".join(picked).capitalize() + "."

    notes = [{"id": str(number), "text": " ".join(sentence() for _ in range(14))} for number in range(400)]
    write_jsonl(folder / "notes.jsonl", notes)
    program = [sys.executable, "-c", "from millrace.pipelines.cli import main; main()"]
    subprocess.run([*program, "init", "--documents", "notes.jsonl"], check=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [*program, "run", "--json"], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (Path(json.loads(done.stdout)["package"]) / "MODEL_CARD.md").is_file()


@pytest.mark.parametrize("is_json", [True, False])
def test_array_records_are_looked_into(folder: Path, is_json: bool) -> None:
    texts = [prose(n) for n in range(40)]
    writer = ArrayRecordWriter(str(folder / "a.array_record"), "group_size:1")
    for text in texts:
        writer.write((json.dumps({"body": text}) if is_json else text).encode())
    writer.close()
    found = survey("x", ["a*"])
    assert (found.text_column, found.documents) == ("body" if is_json else None, 40)
    assert found.text_bytes == sum(map(len, texts))
