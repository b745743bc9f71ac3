"""Server-sent events: chunks of an answer as they come, and the end of the work when the client goes away.

Starlette notices a closed connection only when it sends, and a request that waits in the queue sends nothing; so each
response watches its connection itself. Answers in one piece need the same watch, so sse-starlette would spare two lines
of format; it also replaces uvicorn's signal handler when it is imported.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from .answers import Answers
from .openai_types import ApiError


class EventStream(StreamingResponse):
    """A response of server-sent events.

    Args:
        answers: Where the chunks come from; cancelled as soon as the client is gone.
        chunks: What to send, a JSON object each.
    """

    def __init__(self, answers: Answers, chunks: AsyncIterator[dict[str, Any]]) -> None:
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # no proxy may collect the chunks
        super().__init__(_events(chunks), headers=headers, media_type="text/event-stream")
        self._answers = answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        watch = asyncio.create_task(cancel_when_gone(receive, self._answers))
        try:
            await self.stream_response(send)
        except OSError:
            pass  # the client is gone
        finally:
            watch.cancel()
            self._answers.cancel()


async def _events(chunks: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
    """Chunks as server-sent events; an error becomes the last event, because the status is sent already."""
    try:
        async for chunk in chunks:
            yield b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n"
    except ApiError as error:
        yield b"data: " + json.dumps(error.body).encode() + b"\n\n"
    else:
        yield b"data: [DONE]\n\n"


async def cancel_when_gone(receive: Receive, answers: Answers) -> None:
    """Waits until the client has closed the connection and then cancels its answers."""
    while (await receive())["type"] != "http.disconnect":
        pass
    answers.cancel()
