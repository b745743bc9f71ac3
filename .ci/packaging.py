"""Builds the wheel and the source distribution, looks into both, and starts the installed command.

Held: the wheel has every module, ``py.typed`` and spec of the four folders and nothing besides its metadata; the source
distribution has the same and no tests; the wheel made from it is the wheel made from the tree; the command runs from the
installed wheel. Takes half a minute, most of it for the build's own environment.

    .venv/bin/python .ci/packaging.py
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
FOLDERS = ("components", "data", "model", "pipelines")
PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
BESIDE = {"LICENSE", "MANIFEST.in", "PKG-INFO", "README.md", "pyproject.toml", "setup.cfg"}


def expected() -> set[str]:
    """The files that a wheel has to hold, as git knows them."""
    listed = subprocess.run(
        ["git", "ls-files", *FOLDERS], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return {f"millrace/{name}" for name in listed.stdout.split()}


def make_wheel(source: Path, folder: Path) -> Path:
    """The wheel of a tree or of a source distribution."""
    subprocess.run([*PIP, "wheel", "--no-deps", "--wheel-dir", str(folder), str(source)], check=True)
    (wheel,) = folder.glob("millrace-*.whl")
    return wheel


def make_source_distribution() -> Path:
    """The source distribution of the tree, by the backend that pyproject.toml names."""
    backend, folder = BUILD / "backend", BUILD / "sdist"
    subprocess.run([*PIP, "install", "--target", str(backend), "setuptools>=77"], check=True)
    program = f"from setuptools import build_meta; build_meta.build_sdist({str(folder)!r})"
    folder.mkdir()
    quiet = {"stdout": subprocess.DEVNULL, "env": os.environ | {"PYTHONPATH": str(backend)}}
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, **quiet)
    (archive,) = folder.glob("millrace-*.tar.gz")
    return archive


def in_wheel(wheel: Path) -> set[str]:
    """The files of a wheel but for its metadata."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def in_source_distribution(archive: Path) -> set[str]:
    """The files of a source distribution below ``src``; whatever stands beside it has to be known."""
    with tarfile.open(archive) as opened:
        files = [PurePosixPath(*PurePosixPath(one.name).parts[1:]) for one in opened if not one.isdir()]
    strays = {str(file) for file in files if file.parts[0] != "src"} - BESIDE
    assert not strays, f"the source distribution has files that nobody needs: {sorted(strays)}"
    own = {file.relative_to("src") for file in files if file.parts[0] == "src"}
    return {str(file) for file in own if not file.parts[0].endswith(".egg-info")}


def same(what: str, got: set[str], wanted: set[str]) -> None:
    """Fails unless two sets of files are the same, and names the files that make the difference."""
    more, less = sorted(got - wanted), sorted(wanted - got)
    assert got == wanted, f"{what}: too much {more}, missing {less}"


def main() -> None:
    """Builds, looks, starts."""
    for name in ("wheel", "again", "sdist", "backend", "site", "lib"):
        shutil.rmtree(BUILD / name, ignore_errors=True)
    BUILD.mkdir(exist_ok=True)
    wheel = make_wheel(ROOT, BUILD / "wheel")
    archive = make_source_distribution()
    wanted = expected()
    assert {f"millrace/{folder}/py.typed" for folder in FOLDERS} <= wanted
    same("the wheel", in_wheel(wheel), wanted)
    same("the source distribution", in_source_distribution(archive), wanted)
    same("the wheel of the source distribution", in_wheel(make_wheel(archive, BUILD / "again")), wanted)
    site = BUILD / "site"
    subprocess.run([*PIP, "install", "--no-deps", "--target", str(site), str(wheel)], check=True)
    program = (
        "import millrace.pipelines.cli as installed, pathlib\n"
        "assert 'site' in pathlib.Path(installed.__file__).parts, installed.__file__\n"
        "installed.app(['components'], standalone_mode=False)"
    )
    environment = os.environ | {"PYTHONPATH": str(site)}
    subprocess.run([sys.executable, "-P", "-c", program], cwd=BUILD, env=environment, check=True)


if __name__ == "__main__":
    main()
