"""Durations as a spec writes them."""

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(duration: str) -> int:
    """A duration like 90s or 2h in seconds.

    Raises:
        KeyError, ValueError: It is none.
    """
    return int(duration[:-1]) * SECONDS[duration[-1]]
