"""What passes is tried again; what does not is said at once."""

from __future__ import annotations

import errno

import pytest

from millrace.pipelines.store import patience
from millrace.pipelines.store.errors import StoreError
from millrace.pipelines.store.patience import patiently


class Fault(Exception):
    """An error as libraries raise it, with their module's name and attributes."""


def of_library(module: str, name: str, text: str = "", **attributes: object) -> Exception:
    """An error of a library's type."""
    made: Exception = type(name, (Exception,), {"__module__": module})(text)
    vars(made).update(attributes)
    return made


def client_error(code: str, status: int) -> Exception:
    """botocore's error."""
    response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return of_library("botocore.exceptions", "ClientError", f"An error occurred ({code})", response=response)


PASSING = [
    ConnectionResetError("reset"),
    TimeoutError(),
    client_error("InternalError", 500),
    client_error("SlowDown", 503),
    of_library("botocore.exceptions", "EndpointConnectionError", "Could not connect"),
    of_library("aiohttp.client_exceptions", "ClientPayloadError"),
    OSError(errno.EIO, "Internal Error"),
    of_library("gcsfs.retry", "HttpError", "busy", code=503),
]
FINAL = [
    (client_error("AccessDenied", 403), "refuses access"),
    (PermissionError("Access Denied"), "refuses access"),
    (of_library("gcsfs.retry", "HttpError", "Forbidden", code=403), "refuses access"),
    (of_library("botocore.exceptions", "NoCredentialsError", "Unable to locate"), "got no credentials"),
    (of_library("google.auth.exceptions", "DefaultCredentialsError"), "got no credentials"),
    (client_error("NoSuchBucket", 404), "there is no such bucket"),
    (FileNotFoundError("The specified bucket does not exist"), "there is no such bucket"),
]


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the pauses."""
    monkeypatch.setattr(patience, "FIRST_PAUSE_SECONDS", 0.001)


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_what_passes_is_tried_again(error: Exception) -> None:
    left = [error, error, error]

    def action() -> str:
        if left:
            raise left.pop()
        return "done"

    assert patiently(action, "s3://b", 5.0) == "done"


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_what_does_not_pass_in_time_ends_with_what_to_do(error: Exception) -> None:
    def action() -> None:
        raise error

    with pytest.raises(
        StoreError, match=r"s3://b does not answer.*`store_timeout`.*finished stages are kept"
    ):
        patiently(action, "s3://b", 0.05)


@pytest.mark.parametrize(("error", "message"), FINAL, ids=lambda value: repr(value)[:40])
def test_a_refusal_is_final(error: Exception, message: str) -> None:
    """Also when another error wraps it."""
    calls = 0

    def action() -> None:
        nonlocal calls
        calls += 1
        raise RuntimeError("failed") from error

    with pytest.raises(StoreError, match=message):
        patiently(action, "s3://b", 5.0)
    assert calls == 1


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError("no such object"),
        OSError(errno.ENOSPC, "No space left on device", "/cache/a"),
        PermissionError(errno.EACCES, "Permission denied", "/cache/a"),
        KeyError("a defect"),
    ],
    ids=repr,
)
def test_other_errors_are_left_alone(error: Exception) -> None:
    """An object that is not there, this machine's disk, defects."""

    def action() -> None:
        raise error

    with pytest.raises(type(error)):
        patiently(action, "s3://b", 5.0)


def test_the_message_is_one_line_and_short() -> None:
    assert patience.said(Fault("a\n  b")) == "a b"
    assert patience.said(Fault()) == "Fault"
    assert len(patience.said(Fault("x" * 999))) == 200
