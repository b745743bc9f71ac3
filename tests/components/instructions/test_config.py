"""The configuration of ``instructions``: its identity follows the files that a user names."""

from __future__ import annotations

from pathlib import Path

from millrace.components.instructions.config import InstructionsConfig, fingerprint


def test_the_fingerprint_follows_the_users_files(tmp_path: Path) -> None:
    """Without files there is nothing to follow; a file that changes changes it, and so does a second file."""
    path = tmp_path / "a.jsonl"
    path.write_text("{}\n")
    assert fingerprint(InstructionsConfig()) == {}
    config = InstructionsConfig.model_validate({"chats": {"mine": str(path)}})
    before = fingerprint(config)
    assert before == fingerprint(config)
    path.write_text("{}\n{}\n")
    assert fingerprint(config) != before
