"""Seals the store's JSON files: the first line holds the SHA-256 of everything after it.

The file stays JSON that any tool reads. A byte that changed anywhere in it is noticed when it is read: in the body by
the digest, in the first line by the digest or by its form.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

FORMAT = 2  # 1 had no seal


def seal(value: Mapping[str, Any]) -> bytes:
    """The sealed file of a JSON object.

    Args:
        value: Names -> JSON values, none of them named ``seal`` or ``format``.
    """
    body = json.dumps({**value, "format": FORMAT}, indent=1).encode().removeprefix(b"{")
    return _first_line(body) + body


def unseal(data: bytes) -> dict[str, Any]:
    """The object of a sealed file, without its seal and its format.

    Files of format 1, which stores of earlier versions hold, are taken without a seal.

    Raises:
        ValueError: The file is not JSON, no object, or not as it was written; says which.
    """
    try:
        value = json.loads(data)
    except ValueError as error:
        raise ValueError("it is empty" if not data else f"it is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"it holds a JSON {type(value).__name__}, expected an object")
    form = value.pop("format", 1)
    if form != 1 or "seal" in value:
        head = data.partition(b"\n")[0]
        body = data[len(head) :]
        if form != FORMAT or head != _first_line(body):
            raise ValueError("it was changed after it was written: its seal does not match")
        del value["seal"]
    return value


def _first_line(body: bytes) -> bytes:
    return b'{"seal": "' + hashlib.sha256(body).hexdigest().encode() + b'",'
