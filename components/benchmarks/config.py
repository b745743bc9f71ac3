"""Configuration and ports of ``benchmarks``."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, StringConstraints

from millrace.components.contract import Component, Config, Port

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]


class BenchmarksConfig(Config):
    """The sets to make, and their sizes; 0 leaves a set out."""

    files: dict[Name, str] = Field(
        default_factory=dict,
        description="Name -> JSON Lines of {id, prompt, choices, answer: index} or {id, prompt, answer: text}.",
    )
    max_docstrings: int = Field(
        default=400, ge=0, description="Questions: which docstring belongs to this function."
    )
    max_returns: int = Field(default=200, ge=0, description="Questions: complete the function's last line.")
    max_continuations: int = Field(
        default=200, ge=0, description="Questions: which passage continues this one."
    )
    max_texts: int = Field(default=64, ge=0, description="Held-out texts per source, for bits per byte.")
    max_prompt_characters: int = Field(default=600, ge=200, description="Longer functions are passed over.")
    max_text_bytes: int = Field(default=4096, ge=64, description="Longer held-out texts are cut.")


def fingerprint(config: BenchmarksConfig) -> dict[str, Any]:
    """Addresses, sizes and modification times of the user's files."""
    if not config.files:
        return {}
    from millrace.data.sources import files

    return {
        name: [list(entry) for entry in files.fingerprint([pattern])]
        for name, pattern in sorted(config.files.items())
    }


COMPONENT = Component(
    name="benchmarks",
    summary="Build evaluation sets from held-out documents and a user's questions.",
    config=BenchmarksConfig,
    inputs={"held_out": Port("documents", "Documents that training never sees.", optional=True)},
    outputs={"benchmarks": Port("benchmarks", "index.json and one JSON Lines file per set.")},
    run="millrace.components.benchmarks.stage:run",
    key_metric="examples",
    fingerprint=fingerprint,
)
