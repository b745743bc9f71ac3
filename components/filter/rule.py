"""The base of every filter rule: its configuration, its input, its result, its bounds."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Self

from pydantic import Field, model_validator

from millrace.components.contract import Config

if TYPE_CHECKING:
    import numpy as np

    from millrace.data.text.batch import Edited, TextBatch
    from millrace.data.text.words_and_lines import Structure

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0)]
Characters = Annotated[float, Field(ge=0.0)]


@dataclass(frozen=True)
class Rows:
    """The documents that a rule sees: some rows of one source in one shard, as the rules before it left them.

    Attributes:
        batch: Their texts.
        columns: Their other columns, a pyarrow table: doc_id, source, lang, uri, locator, metadata. ``lang`` is the
            value set by an earlier rule, if any.
        artifacts: Label -> folder of the artifacts that the stage was given besides documents (``classifiers``).
    """

    batch: TextBatch
    columns: Any = None
    artifacts: Mapping[str, Path] = field(default_factory=dict)

    @cached_property
    def structure(self) -> Structure:
        """The texts' words and lines, found once for all rules that read the same texts."""
        from millrace.data.text.structure import structure_of

        return structure_of(self.batch)

    def column(self, name: str) -> Any:
        """One column besides the text as a pyarrow array, one value per document; nulls are possible."""
        return self.columns[name].combine_chunks()


class Outcome(NamedTuple):
    """The result of a rule.

    Attributes:
        values: Measured value -> float64 [documents]; the fields ``min_<value>`` and ``max_<value>`` of the rule's
            configuration bound it. NaN breaks no bound.
        edited: The texts that the rules after this one see, and how often what was edited; None: nothing changed.
            A document counts as edited where a count is above zero, and nowhere else may its text differ.
        lang: A new ``lang`` column, a pyarrow string array [documents]; None: it stays.
        evidence: Fields of this rule's decisions besides value and threshold: name -> JSON values, object [documents].
    """

    values: Mapping[str, np.ndarray]
    edited: Edited | None = None
    lang: Any = None
    evidence: Mapping[str, np.ndarray] = {}


@dataclass(frozen=True)
class Bound:
    """One threshold: its name in decisions, the value it bounds, and which way."""

    name: str
    value: str
    is_minimum: bool
    threshold: float

    def broken(self, values: np.ndarray) -> np.ndarray:
        """Whether each document breaks it, bool [documents]."""
        return values < self.threshold if self.is_minimum else values > self.threshold


class Rule(Config):
    """One rule as a spec writes it. A subclass has ``rule: Literal["its_word"]``, its fields, and ``apply``.

    Every rule's file is loaded when a spec is planned: it imports what is heavy inside ``apply``, by plain statements,
    which the code's identity follows.
    """

    @abstractmethod
    def apply(self, rows: Rows) -> Outcome:
        """Measures or edits the documents."""

    @model_validator(mode="after")
    def _lets_something_pass(self) -> Self:
        for name in type(self).model_fields:
            low, high = getattr(self, name), getattr(self, f"max_{name[4:]}", None)
            if name.startswith("min_") and low is not None and high is not None and low > high:
                raise ValueError(
                    f"got {name} {low} above max_{name[4:]} {high}, expected a range that something is in"
                )
        return self

    @property
    def label(self) -> str:
        """The rule's name in decisions, metrics and reports: its word in the spec, unless a subclass overrides it."""
        return str(getattr(self, "rule"))  # noqa: B009 - only subclasses have it

    @property
    def files(self) -> tuple[str, ...]:
        """Files outside the store that the rule reads: the fields that end in ``_file``."""
        named = (getattr(self, name) for name in type(self).model_fields if name.endswith("_file"))
        return tuple(path for path in named if path is not None)

    def resolved(self, artifacts: Mapping[str, Path]) -> Self:
        """The rule with everything that follows from the stage's artifacts filled in.

        Args:
            artifacts: As in ``Rows``.

        Raises:
            ComponentError: The rule needs one that the stage was not given.
        """
        return self


def bounds_of(rule: Rule) -> list[Bound]:
    """The bounds that a rule's configuration sets, in the order of its fields."""
    found = []
    for name in type(rule).model_fields:
        threshold = getattr(rule, name)
        if name.startswith(("min_", "max_")) and threshold is not None:
            found.append(Bound(f"{rule.label}.{name}", name[4:], name.startswith("min_"), float(threshold)))
    return found
