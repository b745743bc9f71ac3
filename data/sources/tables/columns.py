"""Turns columns into documents, for all formats with columns, without Python for each document.

The few rows that need a closer look (no text, an id of another type, a value that JSON escapes) go through
``rows.record_of`` like rows of any format, and return to their places.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace.data.sources.records import Batch, Item, Malformed, Options, Record, Where
from millrace.data.text.kernels import kernel

ESCAPED_IN_JSON = r"[^ !#-\[\]-~]"
"""What Python's ``json.dumps`` does not write as it is."""


class Rows(NamedTuple):
    """Documents as columns.

    Attributes:
        places: Where in the file's block each is, int64 [documents]: their order.
        locators: pyarrow string array [documents].
        texts: pyarrow large_string array [documents], valid and not blank.
        ids: pyarrow string array [documents], or None.
        langs: pyarrow string array [documents] with nulls, or None.
        metadata: Name -> pyarrow string array [documents] of JSON values, null where a document has none.
    """

    places: np.ndarray
    locators: Any
    texts: Any
    ids: Any | None
    langs: Any | None
    metadata: Mapping[str, Any]


def items_of(
    where: Where, options: Options, rows: Rows, others: Sequence[tuple[int, Record | Malformed]]
) -> Iterator[Item]:
    """One batch of the rows and of the records among the others, and the malformed records before it.

    Args:
        where: The file.
        options: The languages and licences of those that name none.
        rows: Most of a block.
        others: The rest, each with its place.
    """
    records = []
    for place, item in others:
        if isinstance(item, Malformed):
            yield item
        else:
            records.append((place, item))
    count = len(rows.places)
    if not count + len(records):
        return
    langs: Any = options.default_language
    if rows.langs is not None:
        langs = pc.if_else(pc.equal(pc.binary_length(rows.langs), 0), None, rows.langs).fill_null(langs)
    keys = None if rows.ids is None else pc.binary_join_element_wise("id=", rows.ids, "")
    batch = Batch(
        where.uri,
        rows.locators,
        keys,
        rows.texts,
        langs,
        _objects(rows.metadata, options.default_license, count),
    )
    yield batch if not records else _merged(batch, rows.places, records)


def _objects(values: Mapping[str, Any], default_license: str | None, count: int) -> Any:
    """JSON objects with sorted keys of columns of JSON values: pyarrow string array [count], or the object of all."""
    columns = dict(values)
    if default_license is not None:
        own = columns.get("license", pa.nulls(count, pa.string()))
        columns["license"] = own.fill_null(json.dumps(default_license))
    columns = {name: column for name, column in columns.items() if column.null_count < count}
    if not columns or not count:
        return "{}"
    pairs = [
        pc.binary_join_element_wise(f"{json.dumps(name)}: ", columns[name], "") for name in sorted(columns)
    ]
    is_some = reduce(pc.or_, (pc.is_valid(column) for column in columns.values()))
    # Without the rows that have nothing: Arrow 25 leaves them out, and the result is shorter than its arguments.
    some = [pair.filter(is_some) for pair in pairs]
    inside = pc.binary_join_element_wise(*some, ", ", null_handling="skip")
    objects = pc.binary_join_element_wise("{", inside, "}", "")
    return pc.replace_with_mask(pa.repeat(pa.scalar("{}"), count), is_some, objects)


def _merged(batch: Batch, places: np.ndarray, records: Sequence[tuple[int, Record]]) -> Batch:
    """The batch with records put where they were."""
    count = len(places)
    order = pa.array(
        np.argsort(
            np.concatenate([places, np.array([place for place, _ in records], np.int64)]), kind="stable"
        )
    )

    def column(values: Any, own: Sequence[str], kind: Any = pa.string()) -> Any:  # noqa: B008 - a constant
        array = pa.repeat(pa.scalar(values), count) if isinstance(values, str) else values
        return pa.concat_arrays([array.cast(kind), pa.array(own, kind)]).take(order)

    only = [record for _, record in records]
    return Batch(
        batch.uri,
        column(batch.locators, [record.locator for record in only]),
        column(batch.locators if batch.keys is None else batch.keys, [record.key for record in only]),
        column(batch.texts, [record.text for record in only], pa.large_string()),
        column(batch.lang, [record.lang for record in only]),
        column(batch.metadata, [json.dumps(record.metadata, sort_keys=True) for record in only]),
    )


def json_values(values: Any) -> Any | None:
    """A column's values as JSON writes them, pyarrow string array with nulls; None for types that need a look.

    Args:
        values: pyarrow array of valid strings, integers or truth values.
    """
    kind = values.type
    if pa.types.is_integer(kind):
        return values.cast(pa.string())
    if pa.types.is_boolean(kind):
        return pc.if_else(values, "true", "false")
    if pa.types.is_null(kind):
        return values.cast(pa.string())
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return None
    values = values.cast(pa.string())
    quoted = pc.binary_join_element_wise('"', values, '"', "")
    escaped = pc.match_substring_regex(values, ESCAPED_IN_JSON).fill_null(False)
    if not pc.any(escaped).as_py():
        return quoted
    own = [json.dumps(value) for value in values.filter(escaped).to_pylist()]
    return pc.replace_with_mask(quoted, escaped, pa.array(own, pa.string()))


def is_utf8(texts: Any) -> bool:
    """Whether all of a pyarrow string array is valid UTF-8; files are believed nothing."""
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def blank(texts: Any) -> np.ndarray:
    """Whether each text is only white space, as ``str.strip`` defines it; bool [documents].

    Args:
        texts: pyarrow large_string array [documents] without nulls.
    """
    _, offsets, data = texts.buffers()
    starts = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    found = np.zeros(len(texts), bool)
    _blank(np.frombuffer(data or b"", np.uint8), starts, found)
    return found


@kernel
def _blank(data: np.ndarray, starts: np.ndarray, out: np.ndarray) -> None:
    for row in range(starts.size - 1):
        at, end = starts[row], starts[row + 1]
        while at < end:
            byte = data[at]
            if byte == 32 or 9 <= byte <= 13 or 28 <= byte <= 31:
                at += 1
            elif byte == 0xC2 and at + 1 < end and (data[at + 1] == 0x85 or data[at + 1] == 0xA0):
                at += 2
            elif at + 2 < end and (
                (byte == 0xE1 and data[at + 1] == 0x9A and data[at + 2] == 0x80)
                or (byte == 0xE3 and data[at + 1] == 0x80 and data[at + 2] == 0x80)
                or (byte == 0xE2 and data[at + 1] == 0x81 and data[at + 2] == 0x9F)
                or (
                    byte == 0xE2
                    and data[at + 1] == 0x80
                    and (data[at + 2] <= 0x8A or 0xA8 <= data[at + 2] <= 0xA9 or data[at + 2] == 0xAF)
                )
            ):
                at += 3
            else:
                break
        out[row] = at == end
