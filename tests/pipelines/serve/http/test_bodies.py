"""A body is JSON by its content type, and read no further than its limit."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from starlette.requests import Request
from starlette.types import Message

from millrace.pipelines.serve.http.bodies import DRAINED_BODIES, read_body
from millrace.pipelines.serve.openai_types import CLIENT_CLOSED_REQUEST, ApiError


def read(
    parts: Sequence[bytes], content_type: str = "application/json", ended: bool = True
) -> tuple[bytes, int]:
    """The body, and how many parts of it were taken."""
    messages: list[Message] = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    messages.append({"type": "http.request", "body": b""} if ended else {"type": "http.disconnect"})
    left = list(messages)

    async def receive() -> Message:
        return left.pop(0)

    headers = [(b"content-type", content_type.encode())]
    body = asyncio.run(read_body(Request({"type": "http", "headers": headers}, receive), 10))
    return body, len(messages) - len(left)


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=utf-8"])
def test_a_body_arrives_in_parts_up_to_its_limit(content_type: str) -> None:
    assert read([b"12345", b"67890"], content_type) == (b"1234567890", 3)


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded"])
def test_what_a_page_can_send_without_asking_is_no_json(content_type: str) -> None:
    with pytest.raises(ApiError, match="expected application/json") as refused:
        read([b"{}"], content_type)
    assert refused.value.status == 415


@pytest.mark.parametrize("parts", [[b"x" * 11], [b"x"] * 11, [b"x" * 10] * (DRAINED_BODIES + 5)])
def test_a_body_over_the_limit_is_refused(parts: list[bytes]) -> None:
    with pytest.raises(ApiError, match="more than 10 bytes") as refused:
        read(parts)
    assert refused.value.status == 413


def test_a_client_that_goes_away_in_the_middle_is_no_failure() -> None:
    with pytest.raises(ApiError) as refused:
        read([b"{"], ended=False)
    assert refused.value.status == CLIENT_CLOSED_REQUEST
