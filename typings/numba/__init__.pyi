"""Numba's decorators change what a function takes, which no checker can follow: all of it is Any, as for mypy."""

from typing import Any

def __getattr__(name: str) -> Any: ...
