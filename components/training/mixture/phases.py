"""The configuration of batches that a stage reads from token streams: phases, their mixtures, rows and packing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from millrace.components.contract import Config

from . import budget


class MixturePhase(Config):
    """One stage of the staged mixture."""

    until_tokens: int | None = Field(
        default=None, ge=1, description="Training tokens, from the start of the run, at which it ends."
    )
    share: float | None = Field(
        default=None, gt=0, le=1, description="Its part of the run's tokens, in place of until_tokens."
    )
    sequence_length_tokens: int = Field(default=256, ge=2, description="Tokens per row.")
    weights: Annotated[dict[str, float], Field(min_length=1)] | Literal["proposed"] = Field(
        description="Source -> weight, which need not sum to one; or those that the input mixture proposes."
    )
    batch_size: int | None = Field(default=None, ge=1, description="Rows per step in this phase, if another.")

    def numbers(self) -> dict[str, float]:
        """The weights.

        Raises:
            ValueError: They are to be proposed, and the mixture that does was not looked at.
        """
        if self.weights == "proposed":
            raise ValueError(
                "got a phase with weights: proposed, expected them to be filled in from a mixture"
            )
        return self.weights

    @model_validator(mode="after")
    def _one_end(self) -> MixturePhase:
        if (self.until_tokens is None) == (self.share is None):
            raise ValueError(
                f"got until_tokens {self.until_tokens} and share {self.share}, expected exactly one of them"
            )
        return self

    @model_validator(mode="after")
    def _some_source(self) -> MixturePhase:
        if self.weights != "proposed" and not (min(self.weights.values()) >= 0 < max(self.weights.values())):
            raise ValueError(f"got weights {self.weights}, expected some above 0, none below")
        return self


class RowsConfig(Config):
    """How tokens become rows and batches, whatever the phases."""

    packing: Literal["concatenate", "documents"] = Field(
        default="concatenate",
        description="Whether a row's tokens see all before them, or their own document only.",
    )
    batch_size: int = Field(default=8, ge=1, description="Rows per step.")
    max_epochs: float = Field(
        default=16.0, gt=0, description="Most passes over any source; a plan that needs more is an error."
    )


class MixtureConfig(RowsConfig):
    """Everything but the seed and the streams that determines the tokens of every step."""

    phases: Sequence[MixturePhase] = Field(min_length=1, description="Mixture by phase, in order.")
    tokens: Annotated[int, Field(ge=1)] | str | None = Field(
        default=None, description="Training tokens of phases with shares."
    )

    @model_validator(mode="after")
    def _shares_fit(self) -> MixtureConfig:
        shares = [phase.share for phase in self.phases if phase.share is not None]
        if len(shares) != (0 if self.tokens is None else len(self.phases)):
            raise ValueError(
                f"got tokens {self.tokens} and {len(shares)} of {len(self.phases)} phases with a share, expected tokens "
                "and a share for every phase, or no tokens and until_tokens for every phase"
            )
        if shares and abs(sum(shares) - 1) > 1e-6:
            raise ValueError(f"got phases whose shares sum to {sum(shares):g}, expected 1")
        return self

    @model_validator(mode="after")
    def _phases_rise(self) -> MixtureConfig:
        ends = [phase.until_tokens for phase in self.phases if phase.until_tokens is not None]
        for number, (before, end) in enumerate(pairwise(ends), 1):
            if end <= before:
                raise ValueError(
                    f"got phase {number} until {end} tokens, expected more than the {before} of the phase before it"
                )
        return self

    def with_proposed(self, weights: Mapping[str, float]) -> Self:
        """The same with these weights in place of ``proposed``."""
        phases = [
            phase.model_copy(update={"weights": dict(weights)}) if phase.weights == "proposed" else phase
            for phase in self.phases
        ]
        return self.model_copy(update={"phases": phases})

    def batch_sizes(self) -> list[int]:
        """Rows per step of each phase."""
        return [phase.batch_size or self.batch_size for phase in self.phases]

    def longest_row_tokens(self) -> int:
        """Tokens of the longest row of any phase."""
        return max(phase.sequence_length_tokens for phase in self.phases)

    def total_tokens(self, vocab_size: int) -> int | None:
        """Training tokens of phases with shares; the vocabulary counts where the model's size sets them."""
        del vocab_size
        return self.tokens if isinstance(self.tokens, int) else None

    def phase_ends(self, vocab_size: int) -> list[int]:
        """Tokens from the start of the run at which each phase ends."""
        total = self.total_tokens(vocab_size)
        if total is None:
            return [phase.until_tokens for phase in self.phases if phase.until_tokens is not None]
        return budget.phase_ends([phase.share or 0.0 for phase in self.phases], total)
