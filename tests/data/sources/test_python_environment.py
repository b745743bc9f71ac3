"""The Python environment as a corpus: the same on every machine with the same lock, and complete."""

from __future__ import annotations

from pathlib import Path

import pytest

from millrace.data.sources import python_environment as environment
from millrace.data.sources.records import PART_BYTES, Malformed, Record, SourceError


def small(content: environment.Content, **options: object) -> list[environment.Part]:
    return environment.plan(content, include=["click", "six", "packaging"], **options)  # type: ignore[arg-type]


def test_the_corpus_is_what_millrace_requires_and_no_tool_that_is_installed_beside_it() -> None:
    names = [installed.name for installed in environment.closure()]
    assert names == sorted(names)
    assert {"numpy", "jax", "click"} <= set(names)
    assert not {"millrace", "pytest", "hypothesis", "pip", "ruff"} & set(names)


def test_extras_are_not_followed_and_markers_are_evaluated() -> None:
    assert environment._applies("numpy>=2")
    assert not environment._applies('pytest; extra == "dev"')
    assert not environment._applies('colorama; sys_platform == "nowhere"')
    assert environment._applies('x; extra == "dev" or python_version > "3"')


def test_addresses_do_not_name_this_machine_and_files_are_sorted() -> None:
    parts = small("code")
    uris = [file.uri for part in parts for file in part.files]
    assert uris == sorted(uris)
    assert any(uri.startswith("python://click@") and uri.endswith("/click/core.py") for uri in uris)
    assert not any(".." in uri or str(Path.home()) in uri for uri in uris)


def test_every_file_is_code_or_documentation_or_a_licence_at_most_once() -> None:
    kinds: tuple[environment.Content, ...] = ("code", "docs", "licences")
    for path in (
        "a/b.py",
        "a/README.md",
        "a/LICENSE",
        "a-1.dist-info/METADATA",
        "a-1.dist-info/licenses/AUTHORS.md",
    ):
        assert sum(environment.belongs(path, kind) for kind in kinds) == 1
    for path in ("a/b.so", "a-1.dist-info/RECORD", "a-1.dist-info/top_level.txt", "a/CMakeLists.txt"):
        assert not any(environment.belongs(path, kind) for kind in kinds)


def test_documents_carry_distribution_version_path_and_licence() -> None:
    record = next(
        record for part in small("code") for record in environment.read(part) if isinstance(record, Record)
    )
    assert record.lang == "python"
    assert record.metadata["distribution"] == "click"
    assert record.metadata["license"] == "BSD-3-Clause"
    descriptions = [
        record
        for part in small("docs")
        for record in environment.read(part)
        if isinstance(record, Record) and record.locator == "description"
    ]
    assert len(descriptions) == 3
    assert not any(record.text.startswith("Metadata-Version") for record in descriptions)


def test_held_out_distributions_are_apart_and_excluded_ones_absent() -> None:
    parts = environment.plan("code", include=["click"], held_out=["six"], exclude=["Click"])
    assert [(part.held_out, {file.distribution.name for file in part.files}) for part in parts] == [
        (True, {"six"})
    ]


def test_an_unknown_distribution_is_named_with_the_closest_one() -> None:
    with pytest.raises(SourceError, match="did you mean 'numpy'"):
        environment.plan("code", held_out=["nunpy"])


def test_a_sample_keeps_to_its_bytes_and_to_the_order_of_the_whole() -> None:
    everything = [file for part in small("code") for file in part.files]
    sample = [file for part in small("code", max_bytes=200_000) for file in part.files]
    assert 100_000 < sum(file.size_bytes for file in sample) <= 200_000
    assert [file for file in everything if file in sample] == sample


def test_the_standard_library_leaves_out_what_systems_package_apart() -> None:
    parts = environment.plan("code", include=["python"])
    tops = {file.path.split("/")[0] for part in parts for file in part.files}
    assert {"argparse.py", "asyncio"} <= tops
    assert not tops & {"site-packages", "test", "idlelib", "__pycache__"}
    assert all(sum(file.size_bytes for file in part.files) <= PART_BYTES for part in parts)


def part_of(folder: Path, content: environment.Content, limit: int = 1000) -> environment.Part:
    installed = environment.Installed("made", "1", "MIT", str(folder))
    files = [environment.File(installed, path.name, path.stat().st_size) for path in sorted(folder.iterdir())]
    return environment.Part(tuple(files), content, False, limit)


def test_source_is_decoded_by_its_declaration_and_what_cannot_be_is_malformed(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes("# coding: latin-1\r\nname = 'é'\r\n".encode("latin-1"))
    (tmp_path / "b.py").write_bytes(b"name = '\xff'\n")
    (tmp_path / "c.py").write_bytes(b"# coding: no-such\n")
    (tmp_path / "d.py").write_bytes(b" \n")
    (tmp_path / "e.py").write_bytes(b"#" * 1001)
    found = list(environment.read(part_of(tmp_path, "code")))
    assert isinstance(found[0], Record)
    assert found[0].text == "# coding: latin-1\nname = 'é'\n"
    rules = [(one.uri[-4:], one.rule) for one in found[1:] if isinstance(one, Malformed)]
    assert rules == [("b.py", "malformed"), ("c.py", "malformed"), ("d.py", "empty"), ("e.py", "malformed")]


def test_a_file_that_record_lists_and_the_disk_lacks_is_malformed(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("a = 1\n")
    part = part_of(tmp_path, "code")
    (tmp_path / "a.py").unlink()
    (problem,) = environment.read(part)
    assert isinstance(problem, Malformed)
    assert "No such file" in problem.problem


def test_the_fingerprint_names_every_version() -> None:
    first = environment.fingerprint()
    environment.fingerprint.cache_clear()
    assert environment.fingerprint() == first
    assert any(line.startswith("numpy==") for line in first)
