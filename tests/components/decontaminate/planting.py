"""Examples of rare words, none of which is in another, for tests to plant."""

from __future__ import annotations

WORDS = "amber basil cobalt dahlia ember fennel garnet hazel indigo juniper kelp larch".split()  # noqa: SIM905


def examples(count: int) -> list[str]:
    """So many examples of twelve words each."""
    return [" ".join(f"{word}{number}" for word in WORDS) for number in range(count)]
