"""The source ``git``: languages by any of their names, which files are taken, and the commit in the documents."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import TypeAdapter, ValidationError

from millrace.components.ingest import git as git_source
from millrace.components.ingest.git import GitSource
from millrace.data.documents.shards import read_shards
from millrace.data.sources import git

FILES = {"lib/a.py": "a = 1\n", "lib/b.js": "let b = 2;\n", "README.md": "# Mill\n", "vendor/c.py": "c = 3\n"}


def make_git(folder: Path) -> dict[str, Any]:
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "all"]):
        subprocess.run(["git", "-C", str(folder), *who, *command], check=True)
    return {"type": "git", "repository": str(folder), "license": "MIT"}


def rows(folder: Path) -> list[dict[str, Any]]:
    return pa.concat_tables(read_shards(folder)).to_pylist()


def test_git_files_carry_commit_path_language_and_licence(run_component: Any, tmp_path: Path) -> None:
    source = make_git(tmp_path / "my")
    result = run_component("ingest", {"sources": {"code": {**source, "languages": "py"}}})
    row = rows(result.outputs["documents"])[0]
    commit = git.find(str(tmp_path / "my")).id
    assert (row["uri"], row["lang"]) == (f"git+my@{commit}:lib/a.py", "python")
    assert json.loads(row["metadata"]) == {
        "commit": commit,
        "language": "python",
        "license": "MIT",
        "path": "lib/a.py",
        "repository": "my",
    }


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"languages": "JS"}, {"lib/b.js"}),
        ({"languages": ["python", "md"], "exclude": []}, {"lib/a.py", "README.md", "vendor/c.py"}),
        ({"include": "lib/*"}, {"lib/a.py", "lib/b.js"}),
        ({"exclude": ["*.py", "*.js"]}, {"README.md"}),
        ({"languages": "python"}, {"lib/a.py"}),
    ],
)
def test_a_spec_chooses_files(tmp_path: Path, fields: dict[str, Any], names: set[str]) -> None:
    source = TypeAdapter(GitSource).validate_python({**make_git(tmp_path / "my"), **fields})
    read = [item for part in git_source.plan(source) for item in git_source.read(part)]
    taken = {item.uri.rpartition(":")[2] for item in read if getattr(item, "rule", None) is None}
    assert taken == names


def test_names_of_a_language_are_one_configuration() -> None:
    made = [
        GitSource(type="git", repository=".", languages=names) for names in (("C++", "py"), ("python", "cpp"))
    ]
    assert made[0] == made[1]
    with pytest.raises(ValidationError, match="did you mean 'python'"):
        GitSource(type="git", repository=".", languages=("pyhton",))


def test_the_fingerprint_is_the_commit_and_the_name_in_addresses(tmp_path: Path) -> None:
    made = make_git(tmp_path / "my")
    source = TypeAdapter(GitSource).validate_python(made)
    (tmp_path / "my/lib/a.py").write_text("not committed\n")
    commit = git.find(str(tmp_path / "my")).id
    assert list(git_source.fingerprint(source)) == ["my", commit]
    named = TypeAdapter(GitSource).validate_python({**made, "name": "mill"})
    assert list(git_source.fingerprint(named)) == ["mill", commit]
