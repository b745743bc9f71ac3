"""Secrets in a spec: refused, because the store keeps every run's spec and a compiled pipeline shows it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from .source_map import Mistake, Source

KEY = re.compile(r"(^|_)(password|passwd|secret|secret_key|access_key|api_key|access_token|credentials)$")
USER_IN_URI = re.compile(r"[a-z][a-z0-9+.-]{0,20}://[^/\s@]{0,100}:[^/\s@]{1,400}@")
SIGNED_URI = re.compile(
    r"://\S*[?&](x-amz-(signature|credential|security-token)|x-goog-(signature|credential)|signature|sig|token|"
    r"access_token|auth|authorization|api_?key|password|secret|key)=[^&\s]{4}",
    re.IGNORECASE,
)
REMEDY = (
    "the store keeps every run's spec, and a compiled pipeline shows it: set it as an environment variable or in the "
    "credentials file that the library of this address reads, on a cluster through the service account"
)


def found(source: Source) -> Iterator[Mistake]:
    """Every value that looks like a secret, where it stands."""
    for path, value in _texts(source.data, ()):
        if path and isinstance(path[-1], str) and KEY.search(path[-1].lower()):
            problem = "looks like a secret"
        elif USER_IN_URI.search(value):
            problem = "got an address with a password"
        elif SIGNED_URI.search(value):
            problem = "got a signed address, or one with a token"
        else:
            continue
        yield Mistake(source.where(path), ".".join(map(str, path)), f"{problem}; {REMEDY}")


def _texts(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, (*path, index))
    elif isinstance(value, str) and value:
        yield path, value
