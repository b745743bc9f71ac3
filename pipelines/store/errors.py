"""Errors of the store, said to the person who can mend them."""


class StoreError(Exception):
    """The store cannot do what was asked: says what was got and what to do."""


class DamagedError(StoreError):
    """An artifact is not as it was written."""
