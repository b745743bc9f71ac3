"""A package made ready to answer: its tokenizer and its decoder in a batch of rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from millrace.data.tokenizer.tokenizer import Tokenizer
from millrace.model.answers.continuous_batch import ContinuousBatch
from millrace.model.package.package import MANIFEST_FILE, Package, PackageError, Weights, file_digest


@dataclass(frozen=True)
class Served:
    """Everything that answering needs.

    Attributes:
        name: The model's name.
        fingerprint: Names the weights: requests with a seed repeat while it stays the same.
        tokenizer: Text to ids and back.
        batch: The decoder's rows.
    """

    name: str
    fingerprint: str
    tokenizer: Tokenizer
    batch: ContinuousBatch

    @property
    def context_tokens(self) -> int:
        """Longest prompt and answer together."""
        return self.batch.capacity_tokens

    def warm_up(self) -> None:
        """Looks all tokens up, so that no request waits for it."""
        _ = self.tokenizer.token_names, self.longest_token_bytes

    @cached_property
    def longest_token_bytes(self) -> int:
        """The most that one token stands for."""
        return max(map(len, self.tokenizer.token_bytes))


def load(folder: Path, weights: Weights = "float32", *, rows: int = 4, warm_up: bool = True) -> Served:
    """Reads a package and compiles its decoder.

    Args:
        folder: The package.
        weights: Which form of the weights.
        rows: How many answers grow at once.
        warm_up: Compile everything now, so that no later request waits for it.

    Raises:
        PackageError: The folder is no package, or a damaged one.
    """
    package = Package.open(folder)
    try:
        tokenizer = Tokenizer.load(folder)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise PackageError(f"cannot read the tokenizer of {folder}: {error}") from error
    if tokenizer.vocab_size != package.config.vocab_size:
        raise PackageError(
            f"{folder}: the tokenizer has {tokenizer.vocab_size} ids, the model {package.config.vocab_size}; "
            "export the package again"
        )
    batch = ContinuousBatch(package.decoder(weights), rows=rows)
    digest = file_digest(folder / MANIFEST_FILE)
    served = Served(package.name, f"{weights}-{digest[:12]}", tokenizer, batch)
    if warm_up:
        batch.warm_up()
        served.warm_up()
    return served
