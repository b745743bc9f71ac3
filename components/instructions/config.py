"""Configuration and ports of ``instructions``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from millrace.components.contract import Component, Config, Port

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]


class InstructionsConfig(Config):
    """The tasks to make, and the files to read."""

    tasks: tuple[Literal["docstring", "signature", "continuation"], ...] | None = Field(
        default=None, description="Null makes docstring of Python and continuation of prose."
    )
    sources: tuple[str, ...] | None = Field(
        default=None, description="Sources to make pairs from; null takes all."
    )
    chats: dict[Name, str] = Field(default_factory=dict, description="Name -> JSON Lines of {messages}.")
    preferences: dict[Name, str] = Field(
        default_factory=dict, description="Name -> JSON Lines of {prompt, chosen, rejected, head?}."
    )
    max_examples: int = Field(
        default=4000, ge=0, description="Pairs made from documents, over both sides of the split."
    )
    max_preferences: int = Field(
        default=4000, ge=0, description="Preferences made from documents, over both sides."
    )
    max_prompt_characters: int = Field(
        default=500, ge=100, description="Longer prompts are passed over or cut."
    )
    max_answer_characters: int = Field(
        default=200, ge=60, description="Longer answers are passed over or cut."
    )
    max_per_document: int = Field(default=8, ge=1, description="Pairs of one document and task.")
    held_out_fraction: float = Field(
        default=0.1, gt=0.0, lt=1.0, description="Share of documents, or of a user's rows."
    )


def fingerprint(config: InstructionsConfig) -> dict[str, Any]:
    """Addresses, sizes and modification times of the user's files."""
    if not config.chats and not config.preferences:
        return {}
    from millrace.data.sources import files

    return {
        port: {
            name: [list(entry) for entry in files.fingerprint([path])] for name, path in sorted(paths.items())
        }
        for port, paths in (("chats", config.chats), ("preferences", config.preferences))
    }


COMPONENT = Component(
    name="instructions",
    summary="Make supervised pairs and preferences from documents, and read a user's.",
    config=InstructionsConfig,
    inputs={"documents": Port("documents", "Documents to make pairs from.", optional=True)},
    outputs={
        "chats": Port("chats", "train.jsonl and held_out.jsonl of chats."),
        "preferences": Port("preferences", "train.jsonl and held_out.jsonl of preferences."),
    },
    run="millrace.components.instructions.stage:run",
    key_metric="chats.train",
    fingerprint=fingerprint,
)
