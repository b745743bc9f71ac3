"""A component explained in text: nothing of its ports and configuration is left out."""

from __future__ import annotations

import re
from typing import Literal

import pytest
from pydantic import Field

from millrace.components import registry
from millrace.components.contract import Component, Config, Port, runtime
from millrace.pipelines.spec.explain import explain_component


class _Inner(Config):
    depth: int = Field(description="How deep.")


class _Outer(Config):
    kind: Literal["a", "b"] = Field("a", description="Which one.")
    inner: _Inner | None = None
    parts: dict[str, tuple[_Inner, ...]] = Field(default_factory=dict)
    workers: int = runtime(2)


TOY = Component(
    "toy",
    "A toy.",
    _Outer,
    {"report": Port("report", "What came out.")},
    "",
    {"texts": Port("documents", "What goes in.", optional=True, many=True)},
)


def test_ports_fields_defaults_and_nested_models_are_shown() -> None:
    assert explain_component(TOY).splitlines() == [
        "toy: A toy.",
        "",
        "inputs:",
        "  texts: documents, optional, many by label — What goes in.",
        "outputs:",
        "  report: report — What came out.",
        "",
        "with:",
        "  kind: 'a' | 'b' = 'a' — Which one.",
        "  inner: _Inner | none",
        "    _Inner:",
        "      depth: int (required) — How deep.",
        "  parts: {str: list of _Inner}",
        "    _Inner:",
        "      depth: int (required) — How deep.",
        "  workers: int = 2 [does not count for reuse]",
    ]


@pytest.mark.parametrize("name", registry.names())
def test_every_field_and_port_of_every_component_is_there(name: str) -> None:
    component = registry.get(name)
    text = explain_component(component)
    for field, info in component.config.model_fields.items():
        assert re.search(rf"^  {info.alias or field}: ", text, re.MULTILINE)
    for port in (*component.inputs, *component.outputs):
        assert re.search(rf"^  {port}: ", text, re.MULTILINE)
