"""Turns rows with named values (JSON, CSV, Parquet, Arrow) into records, or names their fault."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

from millrace.data.sources.records import Malformed, Options, Record, Where


def kind_of(value: object) -> str:
    """JSON's word for a value's type."""
    names = {bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return "null" if value is None else names.get(type(value), type(value).__name__)


def is_unicode(value: object) -> bool:
    """Whether every string of a JSON value can be written as UTF-8; JSON can smuggle in half of a surrogate pair."""
    left = [value]  # no recursion: values may be nested deeper than Python calls
    while left:
        one = left.pop()
        if isinstance(one, Mapping):
            left += [*one, *one.values()]
        elif isinstance(one, list | tuple):
            left += one
        elif isinstance(one, str) and not one.isascii():
            try:
                one.encode()
            except UnicodeEncodeError:
                return False
    return True


def json_value(value: object) -> object:
    """A value as JSON can write it: itself, the same of what it holds, or its text where JSON has no such type.

    Args:
        value: As a reader gives it; dates, decimals, bytes and numbers that are not finite become strings.

    Raises:
        RecursionError: It is nested too deep.
    """
    if value is None or isinstance(value, str | int) or (isinstance(value, float) and isfinite(value)):
        return value
    if isinstance(value, Mapping):
        return {str(key): json_value(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(one) for one in value]
    return str(value)


def metadata_of(row: Mapping[str, Any], options: Options) -> dict[str, object]:
    """A row's metadata: the columns that are copied, as JSON values, and its licence.

    Raises:
        RecursionError: A value is nested too deep.
    """
    columns = options.columns
    metadata: dict[str, object] = {}
    for name in columns.metadata:
        if (value := row.get(name)) is not None:
            metadata[name] = json_value(value)
    if columns.license is not None and row.get(columns.license) is not None:
        metadata["license"] = str(row[columns.license])
    if options.default_license is not None:
        metadata.setdefault("license", options.default_license)
    return metadata


def record_of(
    row: Mapping[str, Any], where: Where, options: Options, locator: str, place: str, size_bytes: int
) -> Record | Malformed:
    """One row as a record, or its fault.

    Args:
        row: Name -> value, as JSON has them.
        where: The file.
        options: The roles of the columns.
        locator: Where in the file the row is.
        place: The same for people, before the problem ("line 7: ").
        size_bytes: The row's size.
    """
    columns, uri = options.columns, where.uri
    if columns.text not in row:
        problem = f"{place}got columns {', '.join(sorted(map(str, row))) or 'none'}, expected a text column {columns.text!r}"
        # An object such as {"data": [...]} may hold any number of records.
        holds_many = any(isinstance(value, list | Mapping) for value in row.values())
        return Malformed(uri, locator, problem, size_bytes, is_stretch=holds_many)
    text = row[columns.text]
    if not isinstance(text, str):
        problem = f"{place}got a JSON {kind_of(text)} in column {columns.text!r}, expected a string"
        return Malformed(uri, locator, problem, size_bytes)
    if not text.strip():
        return Malformed(uri, locator, f"{place}got no text", size_bytes, rule="empty")
    for name in (columns.text, columns.id, columns.language, columns.license, *columns.metadata):
        if name is not None and not is_unicode(row.get(name)):
            problem = f"{place}got a lone surrogate escape in column {name!r}, expected Unicode text"
            return Malformed(uri, locator, problem, size_bytes)
    try:
        metadata = metadata_of(row, options)
    except RecursionError:
        problem = f"{place}got metadata nested too deep, expected at most some hundred levels"
        return Malformed(uri, locator, problem, size_bytes)
    key = locator
    if columns.id is not None:
        own = row.get(columns.id)
        if not isinstance(own, str | int):
            problem = f"{place}got a JSON {kind_of(own)} in column {columns.id!r}, expected an id"
            return Malformed(uri, locator, problem, size_bytes)
        key = f"id={own}"
        metadata["id"] = own
    lang = row.get(columns.language) if columns.language else None
    return Record(uri, locator, key, text, str(lang or options.default_language), metadata)
