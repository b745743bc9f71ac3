"""Writing a first spec: what is found in a user's documents, and that every spec that comes out is one."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.pipelines.spec.corpora import WORDS, prose, rows, write_jsonl

from millrace.components.contract import ComponentError
from millrace.pipelines.engines import kfp
from millrace.pipelines.spec import check
from millrace.pipelines.spec import init as starting

ROOT = Path(__file__).parents[3]


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


def test_empty_and_undecodable_files_are_counted_so_that_the_spec_lets_them_be(folder: Path) -> None:
    make_code(folder)
    for n in range(5):
        (folder / "src" / f"empty{n}.py").touch()
    (folder / "src" / "latin.py").write_bytes(b"# \xe9")
    text, found = starting.documents_spec(["src/**/*.py"], [], folder)
    assert yaml.safe_load(text)["stages"]["ingest"]["with"]["max_bad_fraction"] > 6 / 66
    assert any(line.endswith("% of the records hold no text") for line in found)


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
