"""The gate's configuration: rules that can be meant, and an identity that follows the earlier package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from millrace.components import registry
from millrace.components.contract import ComponentError


@pytest.mark.parametrize(
    "config", [{}, {"max_contamination": 1.5}, {"max_contamination": 0, "max_regression": -1}]
)
def test_rules_that_cannot_be_meant_are_refused_in_the_spec(config: dict[str, Any]) -> None:
    """A gate without rules would always be open."""
    with pytest.raises(ValidationError):
        registry.get("gate").config.model_validate(config)


def test_no_other_component_is_a_gate() -> None:
    """The engine lets nothing go on behind a gate that is closed."""
    assert [name for name in registry.names() if registry.get(name).gate] == ["gate"]


def test_the_fingerprint_follows_the_baseline_package(tmp_path: Path) -> None:
    """Another package under the same path is another gate."""
    component = registry.get("gate")
    assert component.fingerprint is not None
    config = component.config.model_validate({"baseline": str(tmp_path)})
    (tmp_path / "package.json").write_text("earlier")
    before = component.fingerprint(config)
    (tmp_path / "package.json").write_text("later")
    assert component.fingerprint(config) != before
    (tmp_path / "package.json").unlink()
    with pytest.raises(ComponentError, match=r"cannot read package\.json"):
        component.fingerprint(config)
