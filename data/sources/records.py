"""What every source yields: records and malformed records, and the sizes that bound them.

A source is two functions. ``plan`` looks at names and sizes only and cuts the source into parts, deterministically and
whatever the number of workers; ``read`` streams the records of one part. Nothing here imports pyarrow or numpy,
because planning a run takes fingerprints of sources and must stay fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

PART_BYTES = 12 * 2**20
"""Target size of a part and of an output shard: 8-16 MB keep memory small and Beam's overhead per element unseen."""


class SourceError(Exception):
    """A source cannot be read at all and the user can mend it: got, expected, what to do."""


@dataclass(frozen=True)
class Record:
    """One document as read.

    Attributes:
        uri: Where the record's file is, independent of the machine when the source can make it so.
        locator: Where in the file the record is; empty when the file is the record.
        key: What identifies the record inside its file: the locator, or the user's own id.
        text: The decoded text.
        lang: Language tag; ``python`` for code.
        metadata: JSON values; ``license`` whenever known.
        held_out: Whether the record is kept out of training.
    """

    uri: str
    locator: str
    key: str
    text: str
    lang: str
    metadata: Mapping[str, object] = field(default_factory=dict)
    held_out: bool = False


@dataclass(frozen=True)
class Malformed:
    """A record that cannot be used.

    Attributes:
        uri: Where its file is.
        locator: Byte offset, row or line of the problem.
        problem: What was got and what was expected.
        size_bytes: Bytes that are lost, as far as known.
        rule: ``malformed``, or ``empty`` for a record that is well-formed and has no text.
    """

    uri: str
    locator: str
    problem: str
    size_bytes: int = 0
    rule: str = "malformed"
