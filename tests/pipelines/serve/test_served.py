"""A package made ready to answer: what it says of itself, and packages that are damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from millrace.model.package.package import PackageError
from millrace.pipelines.serve.served import load


def test_a_package_says_its_name_its_weights_and_its_context(package: Path) -> None:
    served = load(package, "int4", rows=3, warm_up=False)
    assert (served.name, served.context_tokens, served.batch.free_rows) == ("tiny", 128, 3)
    assert served.fingerprint.startswith("int4-")
    assert served.fingerprint != load(package, warm_up=False).fingerprint


def test_a_package_without_its_tokenizer_is_damaged(copied: Path) -> None:
    for file in copied.glob("*token*"):
        file.unlink()
    with pytest.raises(PackageError):
        load(copied, warm_up=False)


def test_a_folder_that_is_no_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="expected a model package"):
        load(tmp_path)


def test_weights_that_the_manifest_does_not_name_change_the_fingerprint(copied: Path, package: Path) -> None:
    """The manifest's digest is in it, so a package with another manifest never counts as the same."""
    manifest = next(file for file in copied.glob("*.json") if '"tiny"' in file.read_text())
    values = json.loads(manifest.read_text())
    values["name"] = "other"
    manifest.chmod(0o644)
    manifest.write_text(json.dumps(values))
    other = load(copied, warm_up=False)
    assert other.name == "other"
    assert other.fingerprint != load(package, warm_up=False).fingerprint
