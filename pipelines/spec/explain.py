"""A component explained in text: its ports and every field of its configuration, nested ones indented."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from millrace.components.contract import Component, Port, is_semantic


def explain_component(component: Component) -> str:
    """Everything that a person needs to write a stage that uses this component."""
    lines = [f"{component.name}: {component.summary}", ""]
    for title, ports in (("inputs", component.inputs), ("outputs", component.outputs)):
        lines.append(f"{title}:")
        lines += [
            f"  {name}: {port.kind}{_marks(port)} — {port.summary}" for name, port in ports.items()
        ] or ["  none"]
    lines += ["", "with:"]
    lines += list(_fields(component.config, 1, set())) or ["  nothing to configure"]
    return "\n".join(lines)


def _marks(port: Port) -> str:
    return "".join(
        f", {word}" for word, on in (("optional", port.optional), ("many by label", port.many)) if on
    )


def _fields(model: type[BaseModel], depth: int, seen: set[type[BaseModel]]) -> Iterator[str]:
    indent = "  " * depth
    for name, info in model.model_fields.items():
        shown = info.alias or name
        default = _default(info)
        runtime = "" if is_semantic(info) else " [does not count for reuse]"
        description = f" — {info.description}" if info.description else ""
        yield f"{indent}{shown}: {_type(info.annotation)}{default}{description}{runtime}"
        for inner in _models(info.annotation):
            if inner not in seen:
                yield f"{indent}  {inner.__name__}:"
                yield from _fields(inner, depth + 2, seen | {inner})


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return " (required)"
    value: Any = info.get_default(call_default_factory=True)
    if value is PydanticUndefined or value is None or isinstance(value, BaseModel) or value in ({}, (), []):
        return ""
    return f" = {value!r}"


def _type(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is None:
        return "none" if annotation is type(None) else getattr(annotation, "__name__", str(annotation))
    if origin is Annotated:
        return _type(arguments[0])
    if origin is typing.Literal:
        return " | ".join(map(repr, arguments))
    if origin in (typing.Union, types.UnionType):
        return " | ".join(_type(argument) for argument in arguments)
    if origin in (list, tuple, set, frozenset):
        inner = [argument for argument in arguments if argument is not Ellipsis]
        return f"list of {_type(inner[0])}" if inner else "list"
    if origin is dict:
        return f"{{{_type(arguments[0])}: {_type(arguments[1])}}}"
    return str(annotation)


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [model for argument in typing.get_args(annotation) for model in _models(argument)]
