"""PyArrow has no types of its own, and makes many of its functions when it is imported: all of it is Any, as for mypy."""

from typing import Any

def __getattr__(name: str) -> Any: ...
