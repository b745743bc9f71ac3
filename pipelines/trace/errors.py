"""What a question that has no answer raises; a module of its own, since the contract's errors bring all of pydantic."""

from __future__ import annotations


class TraceError(Exception):
    """A question cannot be answered: says what was got, what was expected and what to do.

    It is shown without a traceback, and the command ends with exit code 1.
    """
