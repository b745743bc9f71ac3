"""A request's body: only JSON, and no more of it than the limit."""

from __future__ import annotations

from starlette.requests import ClientDisconnect, Request

from millrace.pipelines.serve.openai_types import CLIENT_CLOSED_REQUEST, ApiError

MAX_BODY_BYTES = 2**20
# A client that is still sending when the connection closes sees a broken pipe instead of the error: so read on, to a
# limit, and keep nothing.
DRAINED_BODIES = 16


async def read_body(request: Request, max_bytes: int) -> bytes:
    """The body, read no further than the limit.

    Raises:
        ApiError: 415 for what is not JSON by its content type, 413 for more than ``max_bytes``.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        message = f"got the content type {content_type!r}, expected application/json"
        raise ApiError(415, message)
    body, received = bytearray(), 0
    try:
        async for part in request.stream():
            received += len(part)
            if received <= max_bytes:
                body += part
            elif received > DRAINED_BODIES * max_bytes:
                break
    except ClientDisconnect:
        raise ApiError(CLIENT_CLOSED_REQUEST, "the client went away") from None
    if received > max_bytes:
        message = f"got a body of more than {max_bytes} bytes, expected a smaller request"
        raise ApiError(413, message, code="request_too_large")
    return bytes(body)
