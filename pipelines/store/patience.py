"""Trying again what an object store did not do, and saying clearly when it never will.

A server that is down, overloaded or silent may be back in a moment: its operations are tried again with growing pauses
until the store's timeout is over. A refusal is final at once: no credentials, no permission, no such bucket.

Errors are told apart by the names and codes that libraries give them, so that none of these libraries has to be
installed or imported: s3fs (aiobotocore), gcsfs, adlfs and others raise their own.
"""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from .errors import StoreError

T = TypeVar("T")
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 15.0
NO_CREDENTIALS = ("credential", "noauthtoken", "tokenretrieval", "defaultcredentials", "refresherror")
NO_PERMISSION = (
    "accessdenied",
    "forbidden",
    "invalidaccesskeyid",
    "signaturedoesnotmatch",
    "expiredtoken",
    "invalidtoken",
    "401",
    "403",
)
NO_BUCKET = ("nosuchbucket", "bucket does not exist", "invalidbucketname")
BUSY = (
    "slowdown",
    "internalerror",
    "serviceunavailable",
    "requesttimeout",
    "429",
    "500",
    "502",
    "503",
    "504",
)
LIBRARIES = ("botocore", "aiobotocore", "aiohttp", "gcsfs", "google", "azure", "urllib3", "requests", "s3fs")
LOCAL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EMFILE)


def patiently(action: Callable[[], T], uri: str, timeout_seconds: float) -> T:
    """The result of an operation on an object store, tried again while the store does not answer.

    Args:
        action: The operation; it may be done twice.
        uri: The store, for messages.
        timeout_seconds: How long to go on trying.

    Raises:
        FileNotFoundError: There is no such object.
        StoreError: The store refuses, or did not answer in time.
    """
    start, pause = time.monotonic(), FIRST_PAUSE_SECONDS
    while True:
        try:
            return action()
        except StoreError:
            raise
        except Exception as error:
            if refused := refusal(error, f"the store {uri}"):
                raise StoreError(refused) from None
            if isinstance(error, FileNotFoundError) or not is_passing(error):
                raise
            spent = time.monotonic() - start
            if spent + pause > timeout_seconds:
                raise StoreError(
                    f"the store {uri} does not answer: {said(error)}; tried for {spent:.0f} s (`store_timeout` in the "
                    "spec). Run the same command again once it does: finished stages are kept"
                ) from None
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def refusal(error: BaseException, place: str) -> str | None:
    """The message for an error that trying again does not mend, or None for all others.

    Args:
        error: What was raised.
        place: The store, for the message.
    """
    marks = [mark for cause in chain(error) for mark in _marks(cause)]

    def is_one_of(words: tuple[str, ...]) -> bool:
        return any(word in mark for mark in marks for word in words)

    if is_one_of(NO_BUCKET):
        return (
            f"{place}: there is no such bucket; correct its name in the spec or --store, or make the bucket: Millrace makes "
            "none"
        )
    if is_one_of(NO_CREDENTIALS):
        return (
            f"got no credentials for {place} ({said(error)}); set them as its library expects, for S3 "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or a profile, for Google GOOGLE_APPLICATION_CREDENTIALS"
        )
    is_forbidden = any(
        isinstance(cause, PermissionError) and cause.filename is None for cause in chain(error)
    )
    if is_forbidden or is_one_of(NO_PERMISSION):
        return (
            f"{place} refuses access ({said(error)}); check that the credentials are of an account that may read, "
            "write, list and delete there"
        )
    return None


def silence(error: BaseException, place: str) -> str | None:
    """The message for an object store that did not answer although its library tried again; None for other errors."""
    if any(_library(cause) in LIBRARIES for cause in chain(error)) and is_passing(error):
        return f"{place} does not answer: {said(error)}; run the same command again once it does: finished stages are kept"
    return None


def is_passing(error: BaseException) -> bool:
    """Whether the same operation may succeed a moment later."""
    for cause in chain(error):
        if isinstance(cause, OSError) and cause.errno in LOCAL:
            return False
        if isinstance(cause, (ConnectionError, TimeoutError)):
            return True
        if _library(cause) in LIBRARIES:
            return True
        if isinstance(cause, OSError) and cause.errno in (errno.EIO, errno.EBUSY, errno.EAGAIN):
            return True
        if type(cause).__name__ in ("FSTimeoutError", "IncompleteRead"):
            return True
    return any(mark in BUSY for cause in chain(error) for mark in _marks(cause))


def said(error: BaseException) -> str:
    """An error's own words, in one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:199]}…"


def _marks(error: BaseException) -> Iterator[str]:
    """Whatever tells the kind of an error: its type's name, its code, its HTTP status."""
    if _library(error) in LIBRARIES:
        yield type(error).__name__.lower()
    response: Any = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore
        yield str(response.get("Error", {}).get("Code", "")).lower()
        yield str(response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
    for name in ("status", "code", "status_code"):
        value = getattr(error, name, None)
        if isinstance(value, (int, str)):
            yield str(value).lower()
    text = str(error).lower()
    yield from (word for word in ("bucket does not exist",) if word in text)


def _library(error: BaseException) -> str:
    return type(error).__module__.partition(".")[0]


def chain(error: BaseException) -> Iterator[BaseException]:
    """An error, and whatever led to it: libraries wrap the operating system's errors."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
