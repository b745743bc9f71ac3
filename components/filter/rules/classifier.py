"""The rule over what a classifier of the pipeline says: its configuration, its threshold and the call.

The threshold stands in the spec, or follows from the precision that is asked for and the curve that `train_classifier`
measured on texts it was not trained on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from pydantic import Field, model_validator

from millrace.components.contract import ComponentError, Config
from millrace.components.filter.rule import Fraction, Outcome, Rows

if TYPE_CHECKING:
    from millrace.data.filters.classifier import Classifier

AnyConfig = TypeVar("AnyConfig", bound=Config)


class Classified(Config):
    """Keeps the documents that a classifier, trained by a stage before, says have a label."""

    rule: Literal["classifier"]
    classifier: str = Field(description="Its label in the stage's input port classifiers.")
    keep: Literal["positive", "negative"] = Field("positive", description="The label of what is kept.")
    min_probability: Fraction | None = Field(None, description="Least calibrated probability of that label.")
    target_precision: Fraction | None = Field(
        None, description="Or: the share of what is kept that has the label, on held-out texts."
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
        """What decisions and reports call the rule; a source may have several with different classifiers."""
        return f"classifier:{self.classifier}"


def resolve(
    rules: Mapping[str, Sequence[AnyConfig]], classifiers: Mapping[str, Path]
) -> dict[str, tuple[AnyConfig, ...]]:
    """The rules with every target precision replaced by the threshold that reaches it.

    Args:
        rules: Source -> its rules.
        classifiers: Label -> folder of the artifact.

    Raises:
        ComponentError: A rule names a classifier that the stage was not given, or no threshold reaches its precision.
    """
    return {source: tuple(_resolved(rule, classifiers) for rule in own) for source, own in rules.items()}


def _resolved(rule: AnyConfig, classifiers: Mapping[str, Path]) -> AnyConfig:
    if not isinstance(rule, Classified):
        return rule
    if rule.classifier not in classifiers:
        raise ComponentError(
            f"got a rule with classifier {rule.classifier!r}, expected one of the input port classifiers "
            f"({', '.join(classifiers) or 'which is empty'}): add `classifiers: {{{rule.classifier}: "
            "STAGE.classifier}` to the stage's inputs"
        )
    if rule.target_precision is None:
        return rule
    try:
        threshold = _load(classifiers[rule.classifier]).threshold(rule.target_precision, rule.keep)
    except ValueError as error:
        raise ComponentError(str(error)) from None
    return rule.model_copy(update={"min_probability": threshold})


def classified(rule: Classified, rows: Rows) -> Outcome:
    """Asks the classifier for the probabilities of the label to keep."""
    model = _load(rows.artifacts[rule.classifier])
    return Outcome({"probability": model.probabilities(rows.batch, rule.keep)})


@lru_cache(maxsize=8)
def _load(folder: Path) -> Classifier:
    from millrace.data.filters.classifier import Classifier

    return Classifier.load(folder)
