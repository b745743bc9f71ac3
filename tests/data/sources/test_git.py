"""A git repository at one commit: which files are documents, with which addresses, and what damage costs."""

from __future__ import annotations

import os
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from millrace.data.sources import git
from millrace.data.sources.records import Malformed, Options, Record, SourceError

FILES = {
    "README.md": b"# Words\n",
    "src/a.py": b"# SPDX-License-Identifier: MIT\nprint('a')\n",
    "src/b.h": b"/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */\nint b(void);\n",
    "src/latin.c": "/* Une phrase française, assez longue pour être reconnue à coup sûr. */\n".encode(
        "cp1252"
    ),
    "node_modules/x/index.js": b"x()\n",
    "src/app.min.js": b"a()\n",
    "image.png": b"\x89PNG\0\0",
    "blank.py": b"\n",
    "big.txt": b"word " * 400,
}
OPTIONS = Options(max_document_bytes=1000)


def run(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    return subprocess.run([*command, *arguments], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A working tree with one commit of ``FILES``, a symbolic link and a submodule, and a change that is not committed."""
    folder = tmp_path / "words"
    for name, data in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    run(folder, "init", "--quiet")
    (folder / "link.py").symlink_to("src/a.py")
    run(folder, "add", "--all", "--force")
    run(folder, "update-index", "--add", "--cacheinfo", "160000", "1" * 40, "sub")
    run(folder, "commit", "--quiet", "--message", "first")
    (folder / "src/a.py").write_text("changed\n")
    return folder


def read(folder: Path | str, options: Options = OPTIONS, **selection: Any) -> list[Record | Malformed]:
    parts = git.plan(git.find(str(folder)), git.Selection(**selection), options)
    return [item for part in parts for item in git.read(part)]


def documents(found: list[Record | Malformed]) -> dict[str, Record]:
    return {str(item.metadata["path"]): item for item in found if isinstance(item, Record)}


def decided(found: list[Record | Malformed]) -> dict[str, tuple[str, str]]:
    return {
        item.uri.split(":", 1)[1]: (item.rule, item.problem) for item in found if isinstance(item, Malformed)
    }


def test_the_files_of_the_commit_are_documents_with_language_licence_and_address(repository: Path) -> None:
    found = documents(read(repository))
    commit = run(repository, "rev-parse", "HEAD")
    assert list(found) == ["README.md", "src/a.py", "src/b.h", "src/latin.c"]
    one = found["src/a.py"]
    assert (one.uri, one.text) == (f"git+words@{commit}:src/a.py", FILES["src/a.py"].decode())
    assert one.metadata == {
        "repository": "words",
        "commit": commit,
        "path": "src/a.py",
        "language": "python",
        "license": "MIT",
    }
    assert found["src/b.h"].metadata["license"] == "GPL-2.0-only WITH Linux-syscall-note"
    assert (found["src/latin.c"].metadata["encoding"], "ê" in found["src/latin.c"].text) == ("cp1252", True)
    assert [record.lang for record in found.values()] == ["en", "python", "c", "c"]


def test_what_is_not_read_is_skipped_and_says_why(repository: Path) -> None:
    rules = decided(read(repository))
    assert {path: rule for path, (rule, _) in rules.items()} == {
        **dict.fromkeys(["image.png", "link.py", "node_modules/x/index.js", "src/app.min.js"], "skipped"),
        "sub": "skipped",
        "blank.py": "empty",
        "big.txt": "malformed",
    }
    assert "exclude has a pattern for (node_modules)" in rules["node_modules/x/index.js"][1]
    assert "2000 bytes, expected at most max_document_bytes = 1000" in rules["big.txt"][1]


def test_patterns_and_languages_choose_files(repository: Path) -> None:
    assert list(documents(read(repository, include=("src",)))) == ["src/a.py", "src/b.h", "src/latin.c"]
    assert list(documents(read(repository, include=("src/*.py", "*.md")))) == ["README.md", "src/a.py"]
    assert "node_modules/x/index.js" in documents(read(repository, exclude=()))
    assert list(documents(read(repository, exclude=("/src",)))) == [
        "README.md",
        "node_modules/x/index.js",
    ]
    only_c = read(repository, languages=("c",))
    assert list(documents(only_c)) == ["src/b.h", "src/latin.c"]
    assert decided(only_c)["src/a.py"] == ("skipped", "got a file in python, expected one of languages")
    with pytest.raises(SourceError, match="none of which is to be read: look at include"):
        read(repository, include=("*.rs",))


def test_a_bare_clone_and_a_folder_inside_give_the_same_documents(repository: Path, tmp_path: Path) -> None:
    bare = tmp_path / "elsewhere" / "words.git"
    subprocess.run(["git", "clone", "--quiet", "--bare", str(repository), str(bare)], check=True)
    assert read(bare) == read(repository)
    assert list(documents(read(repository / "src"))) == ["src/a.py", "src/b.h", "src/latin.c"]


def test_parts_do_not_change_what_is_read(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read(repository)
    monkeypatch.setattr(git, "PART_BYTES", 60)
    assert len(git.plan(git.find(str(repository)), git.Selection(), OPTIONS)) > 3
    assert read(repository) == whole


@pytest.mark.parametrize(
    ("remote", "name"),
    [
        ("https://user:secret@example.org/owner/name.git", "example.org/owner/name"),
        ("https://example.org:8443/owner/name?token=secret", "example.org/owner/name"),
        ("git@example.org:owner/name.git", "example.org/owner/name"),
        ("ssh://git@example.org:22/owner/name/", "example.org/owner/name"),
        ("/somewhere/on/this/machine", "words"),
    ],
)
def test_addresses_have_the_remote_without_user_password_and_port(
    repository: Path, remote: str, name: str
) -> None:
    run(repository, "remote", "add", "origin", remote)
    assert git.find(str(repository)).name == name
    assert git.find(str(repository), name="mine").name == "mine"


def test_the_environment_of_a_hook_does_not_change_the_repository(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other"))
    assert len(documents(read(repository))) == 4


def damage_bytes(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:8])


def damage_content(path: Path) -> None:
    path.write_bytes(zlib.compress(zlib.decompress(path.read_bytes()).replace(b"print", b"Print")))


@pytest.mark.parametrize("damage", [damage_bytes, damage_content, Path.unlink])
def test_a_damaged_or_missing_object_costs_its_file(repository: Path, damage: Callable[[Path], None]) -> None:
    blob = run(repository, "rev-parse", "HEAD:src/a.py")
    commit, selection = git.find(str(repository)), git.Selection()
    parts = git.plan(commit, selection, OPTIONS)
    path = repository / ".git/objects" / blob[:2] / blob[2:]
    os.chmod(path, 0o644)
    damage(path)
    found = [item for part in parts for item in git.read(part)]
    assert list(documents(found)) == ["README.md", "src/b.h", "src/latin.c"]
    assert "see git fsck" in decided(found)["src/a.py"][1]


def test_what_is_no_repository_or_commit_says_so(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(SourceError, match="expected a commit of a git repository: fatal: not a git repo"):
        git.find(str(tmp_path))
    with pytest.raises(SourceError, match="revision '--all', expected a commit"):
        git.find(str(repository), "--all")
    with pytest.raises(SourceError, match="expected a folder with a git repository: check the path"):
        git.find(str(tmp_path / "none"))
    with pytest.raises(SourceError, match=r"got repository https://example.org/a, expected a local folder"):
        git.find("https://me:secret@example.org/a")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SourceError, match="git is not installed; expected the command git"):
        git.find(str(repository))


def test_a_shell_in_the_repositorys_configuration_is_not_run(repository: Path, tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    for key in ("core.fsmonitor", "core.pager", "diff.external", "core.sshCommand", "filter.x.smudge"):
        run(repository, "config", key, f"touch {proof}")
    (repository / ".git/info/attributes").write_text("* filter=x\n")
    assert len(documents(read(repository))) == 4
    assert not proof.exists()
