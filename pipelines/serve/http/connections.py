"""A connection that is not waited for without end: limits for a request's head, its body and its answer's reader.

uvicorn times only a connection that idles after an answer. Whoever sends half a request, or none, keeps a connection,
and a few hundred of these take all the file descriptors that a process has. Here each part has its time, and when more
than so many connections have no whole request, the one that has waited longest goes, of the client that has most of
them: who sends a request at once is answered however many do not.

A body in chunks of one byte takes ten seconds for each mebibyte to put together, so the parts of a body are counted too.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from millrace.pipelines.serve.openai_types import ApiError

MOST_PARTS = 4096  # of a body: chunks, or what the network hands over at once


class Parts(h11.Connection):
    """The protocol of a connection, which counts the parts of a body."""

    _parts = 0

    def next_event(self) -> Any:
        """The next event; an error of the client for one part too many."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._parts = 0
        elif isinstance(event, h11.Data):
            self._parts += 1
            if self._parts > MOST_PARTS:
                raise h11.RemoteProtocolError(f"got a body in more than {MOST_PARTS} parts")
        return event


class Connection(H11Protocol):
    """uvicorn's connection with limits in time.

    Attributes:
        head_seconds: For the request's line and headers, from the connection's beginning or the answer before.
        body_seconds: For the body, from the end of the headers.
        reader_seconds: For a client to take what has been written.
        most_unasked: Connections without a whole request; one more, and one of them is closed.
    """

    head_seconds: float = 10
    body_seconds: float = 20
    reader_seconds: float = 60
    most_unasked: int = 256

    _timer: asyncio.TimerHandle | None = None
    _reader_timer: asyncio.TimerHandle | None = None
    _state: object = None  # of h11: the part of a request that is waited for
    _since: float = 0

    def __init__(self, *options: Any, **named: Any) -> None:
        super().__init__(*options, **named)
        self.conn = Parts(h11.SERVER)

    @property
    def is_unasked(self) -> bool:
        """Whether no whole request has arrived that waits for its answer."""
        return self.conn.their_state in (h11.IDLE, h11.SEND_BODY)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Starts the clock, and makes room where too many wait."""
        super().connection_made(transport)
        # Then the transport says that it cannot write as soon as one byte is left, not at 64 KiB.
        transport.set_write_buffer_limits(0)
        self._watch()
        if len(self.connections) > self.most_unasked:
            self._make_room()

    def data_received(self, data: bytes) -> None:
        """Takes what has come and starts the clock of the next part when one is complete."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Waits for the next request."""
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops the clocks."""
        super().connection_lost(exc)
        for timer in (self._timer, self._reader_timer):
            if timer:
                timer.cancel()

    def pause_writing(self) -> None:
        """The client does not take what has been written."""
        super().pause_writing()
        self._reader_timer = self.loop.call_later(self.reader_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has taken everything."""
        super().resume_writing()
        if self._reader_timer:
            self._reader_timer.cancel()

    def _watch(self) -> None:
        """Sets the clock where a new part of a request is waited for."""
        state = self.conn.their_state
        if state is self._state:
            return
        self._state, self._since = state, self.loop.time()
        if self._timer:
            self._timer.cancel()
        if self.is_unasked:
            seconds = self.head_seconds if state is h11.IDLE else self.body_seconds
            self._timer = self.loop.call_later(seconds, self._give_up, seconds)

    def _make_room(self) -> None:
        """Closes a connection that keeps others out."""
        unasked = [one for one in self.connections if isinstance(one, Connection) and one.is_unasked]
        if len(unasked) > self.most_unasked:
            held = Counter(one.client and one.client[0] for one in unasked)
            worst = max(held, key=held.__getitem__)
            oldest = min(
                (one for one in unasked if (one.client and one.client[0]) == worst),
                key=lambda one: one._since,
            )
            oldest._give_up(self.loop.time() - oldest._since)

    def send_400_response(self, msg: str) -> None:
        """Refuses what is no HTTP, in the shape of every other error."""
        message = f"got what is no HTTP/1.1 request, or a body in more than {MOST_PARTS} parts"
        self._close(ApiError(400, message))

    def _give_up(self, seconds: float) -> None:
        """Closes a connection that has waited long enough; a client that has sent a part of a request is told why."""
        has_begun = self._state is h11.SEND_BODY or self.conn.trailing_data[0]
        message = f"got a part of a request in {seconds:.0f} seconds, expected all of it"
        self._close(ApiError(408, message, code="request_timeout") if has_begun else None)

    def _close(self, error: ApiError | None) -> None:
        """Closes the connection, with an error where no answer has begun."""
        if self.transport.is_closing():
            return
        is_answered = self.cycle is not None and self.cycle.response_started and self._state is not h11.IDLE
        if error and not is_answered:
            self.transport.write(_written(error))
        if self.cycle is not None:  # its handler waits for the rest of the body
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()


def _written(error: ApiError) -> bytes:
    """An error as bytes of HTTP."""
    body = json.dumps(error.body).encode()
    head = (
        f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\nContent-Type: application/json\r\n"
        f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
