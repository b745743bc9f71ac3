"""Server-sent events: a line for each chunk, an end that says how, and no work for a client that has gone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.types import Message

from millrace.pipelines.serve.event_stream import EventStream, cancel_when_gone
from millrace.pipelines.serve.openai_types import ApiError


class Asked:
    """Answers of which only the end is of interest."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()

    def cancel(self) -> None:
        self.cancelled.set()


async def chunks(count: int, error: Exception | None = None) -> AsyncIterator[dict[str, Any]]:
    for number in range(count):
        yield {"number": number, "text": "ä\n\n"}
    if error is not None:
        raise error


def sent(source: AsyncIterator[dict[str, Any]], fails_after: int = 100) -> tuple[Asked, list[Message]]:
    """Runs a response to a client that stays, or whose connection breaks after some messages."""

    async def run() -> tuple[Asked, list[Message]]:
        answers, messages = Asked(), list[Message]()

        async def send(message: Message) -> None:
            if len(messages) >= fails_after:
                raise OSError("broken pipe")
            messages.append(message)

        async def receive() -> Message:
            await asyncio.Event().wait()
            raise AssertionError

        await EventStream(answers, source)({"type": "http"}, receive, send)  # type: ignore[arg-type]
        return answers, messages

    return asyncio.run(run())


def test_each_chunk_is_an_event_and_the_last_says_done() -> None:
    answers, messages = sent(chunks(2))
    assert dict(messages[0]["headers"])[b"content-type"].startswith(b"text/event-stream")
    *events, end, rest = b"".join(message["body"] for message in messages[1:]).split(b"\n\n")
    assert [json.loads(event.removeprefix(b"data: ")) for event in events] == [
        {"number": number, "text": "ä\n\n"} for number in range(2)
    ]
    assert (end, rest) == (b"data: [DONE]", b"")
    assert answers.cancelled.is_set()


def test_an_error_in_the_middle_is_the_last_event() -> None:
    _, messages = sent(chunks(1, ApiError(500, "the model failed")))
    last = b"".join(message["body"] for message in messages[1:]).strip().split(b"\n\n")[-1]
    assert json.loads(last.removeprefix(b"data: "))["error"]["message"] == "the model failed"


def test_a_connection_that_breaks_cancels_the_answers_and_raises_nothing() -> None:
    answers, messages = sent(chunks(5), fails_after=2)
    assert len(messages) == 2
    assert answers.cancelled.is_set()


def test_a_client_that_goes_away_before_the_first_chunk_is_noticed() -> None:
    """A request that waits in the queue sends nothing, so sending cannot find out."""

    async def run() -> bool:
        answers = Asked()
        messages = iter([{"type": "http.request"}, {"type": "http.disconnect"}])

        async def receive() -> Message:
            return next(messages)

        await cancel_when_gone(receive, answers)  # type: ignore[arg-type]
        return answers.cancelled.is_set()

    assert asyncio.run(run())
