"""Spellings of one address are one, others are others."""

from __future__ import annotations

import pyarrow as pa
import pytest

from millrace.data.dedup import addresses


@pytest.mark.parametrize(
    "spellings",
    [
        [
            "http://example.com/a",
            "https://www.Example.com/a/",
            "HTTPS://WWW.EXAMPLE.COM:443/a#part",
            "http://user:word@example.com./a?utm_source=x&utm_medium=y",
            "https://example.com:80/a?fbclid=1&gclid=2",
        ],
        ["https://example.com/A"],
        ["https://example.com/a?q=1", "http://example.com/a?utm_campaign=z&q=1&"],
        ["https://example.com", "https://example.com/", "http://example.com/?"],
        ["http://example.com:8080/"],
        ["http://other.com/a"],
        ["folder/file.txt"],
        ["Folder/file.txt"],
        [""],
    ],
)
def test_spellings_of_an_address_share_a_hash(spellings: list[str]) -> None:
    """Scheme, www, case of the host, port, user, fragment, tracking and a slash at the end do not count."""
    others = [
        "https://example.com/b",
        "python://example.com/a",
        "https://example.com.evil/a",
        "//example.com/a",
    ]
    found = addresses.hashes(pa.chunked_array([pa.array([*spellings, *others])])).tolist()
    assert len(set(found[: len(spellings)])) == 1
    assert not set(found[: len(spellings)]) & set(found[len(spellings) :])
    assert (found[0] == 0) == (spellings[0] == "")
