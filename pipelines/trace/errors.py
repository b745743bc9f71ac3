"""The error of a question that has no answer; apart from the components' errors, whose module makes models."""

from __future__ import annotations


class TraceError(Exception):
    """A question cannot be answered: says what was got, what was expected and what to do.

    It is shown without a traceback, and the command ends with exit code 1.
    """
