"""Labels: by sources or by values of a field, typed as JSON has them, and never both of one document."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from millrace.components.train_classifier.config import Label, TrainClassifierConfig


@pytest.mark.parametrize(
    ("label", "source", "metadata", "holds"),
    [
        ({"sources": ["books", "wiki"]}, "wiki", "{}", True),
        ({"sources": ["books"]}, "web", '{"label": 1}', False),
        ({"field": "label", "values": [1]}, "web", '{"label": 1}', True),
        ({"field": "label", "values": [1]}, "web", '{"label": true}', False),
        ({"field": "label", "values": [True]}, "web", '{"label": 1}', False),
        ({"field": "label", "values": ["1"]}, "web", '{"label": 1}', False),
        ({"field": "label", "values": [1.0]}, "web", '{"label": 1.0}', True),
        ({"field": "label", "values": ["a", "b"]}, "web", '{"label": "b"}', True),
        ({"field": "label", "values": ["a"]}, "web", "{}", False),
    ],
)
def test_a_label_holds_for_its_sources_or_its_typed_values(
    label: dict[str, Any], source: str, metadata: str, holds: bool
) -> None:
    assert Label.model_validate(label).holds(source, metadata) is holds


@pytest.mark.parametrize(
    "label", [{}, {"sources": ["a"], "field": "x", "values": [1]}, {"field": "x"}, {"values": [1]}]
)
def test_a_label_says_one_way_to_tell(label: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="neither or both of sources and field with values"):
        Label.model_validate(label)


def config(positive: dict[str, Any], negative: dict[str, Any]) -> TrainClassifierConfig:
    return TrainClassifierConfig.model_validate({"name": "q", "positive": positive, "negative": negative})


@pytest.mark.parametrize(
    ("positive", "negative", "both"),
    [
        ({"sources": ["a", "b"]}, {"sources": ["b", "c"]}, "b"),
        ({"field": "x", "values": [1, 2]}, {"field": "x", "values": [2]}, "2"),
    ],
)
def test_labels_that_one_document_could_both_carry_are_refused(
    positive: dict[str, Any], negative: dict[str, Any], both: str
) -> None:
    with pytest.raises(ValidationError, match=f"got {both} with both labels"):
        config(positive, negative)


def test_values_of_another_type_or_field_are_other_values() -> None:
    config({"field": "x", "values": [1]}, {"field": "x", "values": [True, "1"]})
    config({"field": "x", "values": [1]}, {"field": "y", "values": [1]})
