"""The rule ``classifier``: keeps documents that a classifier of the pipeline gives the wanted label.

The threshold stands in the spec, or follows from the precision that is asked for and the curve that `train_classifier`
measured on texts it was not trained on.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from millrace.components.contract import ComponentError
from millrace.components.filter.rule import Fraction, Outcome, Rows, Rule

if TYPE_CHECKING:
    from millrace.data.filters.classifier import Classifier


class Classified(Rule):
    """Keeps the documents that a classifier, trained by a stage before, says have a label."""

    rule: Literal["classifier"]
    classifier: str = Field(description="Its label in the stage's input port classifiers.")
    keep: Literal["positive", "negative"] = Field(
        default="positive", description="Label of the documents to keep."
    )
    min_probability: Fraction | None = Field(
        default=None, description="Least calibrated probability of that label."
    )
    target_precision: Fraction | None = Field(
        default=None, description="Or: least precision of that label on held-out texts."
    )

    @model_validator(mode="after")
    def _has_one_threshold(self) -> Classified:
        if (self.min_probability is None) == (self.target_precision is None):
            raise ValueError(
                "got neither or both of min_probability and target_precision, expected one of the two"
            )
        return self

    @property
    def label(self) -> str:
        """The rule's name in decisions and reports; a source may have several with different classifiers."""
        return f"classifier:{self.classifier}"

    def resolved(self, artifacts: Mapping[str, Path]) -> Classified:
        """The rule with its target precision replaced by the threshold that reaches it."""
        if self.classifier not in artifacts:
            raise ComponentError(
                f"got a rule with classifier {self.classifier!r}, expected one of the input port classifiers "
                f"({', '.join(artifacts) or 'which is empty'}): add `classifiers: {{{self.classifier}: "
                "STAGE.classifier}` to the stage's inputs"
            )
        if self.target_precision is None:
            return self
        try:
            threshold = _load(artifacts[self.classifier]).threshold(self.target_precision, self.keep)
        except ValueError as error:
            raise ComponentError(str(error)) from None
        return self.model_copy(update={"min_probability": threshold})

    def apply(self, rows: Rows) -> Outcome:
        """Asks the classifier for the probabilities of the label to keep."""
        model = _load(rows.artifacts[self.classifier])
        return Outcome({"probability": model.probabilities(rows.batch, self.keep)})


@lru_cache(maxsize=8)
def _load(folder: Path) -> Classifier:
    from millrace.data.filters.classifier import Classifier

    return Classifier.load(folder)
