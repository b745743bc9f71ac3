"""The contract between stages and what runs them."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from millrace.components.contract import Artifact, Config, Inputs, is_semantic, runtime

ONE = Artifact(Path("one"), "model", "0" * 64, "pretrain")


class Example(Config):
    """A field that changes the bytes, and one that cannot."""

    rate: float = 1.0
    workers: int = runtime(2, ge=1)


def test_a_configuration_refuses_what_it_does_not_know_and_never_changes() -> None:
    """Unknown names, figures that are not finite, broken bounds and later changes are errors."""
    for wrong in ({"rats": 1.0}, {"rate": float("nan")}, {"rate": float("inf")}, {"workers": 0}):
        with pytest.raises(ValidationError):
            Example.model_validate(wrong)
    with pytest.raises(ValidationError):
        Example().rate = 2.0  # type: ignore[misc]


def test_only_fields_of_the_run_stay_out_of_the_identity() -> None:
    """A field counts unless it was made with ``runtime``."""
    assert {name: is_semantic(info) for name, info in Example.model_fields.items()} == {
        "rate": True,
        "workers": False,
    }


def test_ports_give_one_artifact_or_many_and_say_which() -> None:
    """A port that was left out is none or empty; asking for one of many is a mistake of the stage."""
    inputs = Inputs({"one": ONE, "many": {"b": ONE, "a": ONE}})
    assert inputs.one("one") == inputs.maybe("one") == ONE
    assert (inputs.maybe("other"), inputs.many("other")) == (None, {})
    assert list(inputs.many("many")) == ["b", "a"]
    with pytest.raises(TypeError, match=r"use inputs\.many\('many'\)"):
        inputs.one("many")
    with pytest.raises(TypeError, match=r"use inputs\.one\('one'\)"):
        inputs.many("one")
