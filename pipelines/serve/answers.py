"""One request's answers, as pieces of text: the bridge from the model thread to the event loop.

A request asks for one or more answers (several prompts, ``n`` choices). All are queued together, their tokens arrive
in one asyncio queue, and each has its own ``TextStream``. When a stop string is found or the client goes away, the
tickets are cancelled, which frees the rows of the model.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from millrace.data.tokenizer.tokenizer import Tokenizer
from millrace.model.answers.continuous_batch import Sampling, Token

from .engine import Ended, Engine, QueueFull, Stopped, Ticket
from .openai_types import ApiError
from .text_stream import REPLACEMENT, TextStream

CONTEXT_IDS = 8  # of a prompt's end, so that the answer's first token is decoded as its continuation


@dataclass(frozen=True)
class Options:
    """How every answer of a request is made.

    Attributes:
        max_tokens: Longest answer.
        temperature: See ``Sampling``.
        top_p: See ``Sampling``.
        seed: Of the first answer, the next one has the next; None draws one at random.
        stops: Stop strings.
        stop_ids: Stop tokens.
        candidates: Alternatives to report per token; None reports no log probabilities at all.
    """

    max_tokens: int
    temperature: float
    top_p: float
    seed: int | None
    stops: Sequence[str]
    stop_ids: Sequence[int]
    candidates: int | None = None


@dataclass
class Piece:
    """A part of one answer.

    Attributes:
        index: Which answer.
        text: What it adds, possibly nothing.
        finish: ``stop`` or ``length`` in the answer's last piece.
        logprobs: Entries of the tokens since the piece before, as ``logprob_entry`` makes them.
    """

    index: int
    text: str
    finish: str | None = None
    logprobs: list[dict[str, Any]] = field(default_factory=list)


def logprob_entry(tokenizer: Tokenizer, token: Token) -> dict[str, Any]:
    """A token's text, its log probability and its alternatives."""
    return {
        "text": tokenizer.decode([token.token]),
        "log_prob": token.log_prob,
        "candidates": [(tokenizer.decode([other]), log_prob) for other, log_prob in token.candidates],
    }


class Answers:
    """The answers to the prompts of one request, in the making from the moment this is created.

    Args:
        engine: Where they are made.
        tokenizer: Decodes them.
        prompts: One list of ids per answer.
        options: How they are made.
        continues: Whether an answer continues its prompt's text (a completion) or stands alone (a chat's turn).

    Raises:
        ApiError: 429 when the queue is full, 503 when the server is shutting down.
    """

    def __init__(
        self,
        engine: Engine,
        tokenizer: Tokenizer,
        prompts: Sequence[Sequence[int]],
        options: Options,
        *,
        continues: bool,
    ) -> None:
        self.completion_tokens = 0
        self._options, self._tokenizer = options, tokenizer
        self._events: asyncio.Queue[tuple[int, Token | Ended] | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._streams = [
            TextStream(tokenizer.decode, options.stops, self._context(prompt) if continues else ())
            for prompt in prompts
        ]
        seed = secrets.randbits(32) if options.seed is None else options.seed
        self._tickets = [
            Ticket(
                prompt=prompt,
                sampling=Sampling(options.temperature, options.top_p, seed + index, options.candidates or 0),
                max_tokens=options.max_tokens,
                stop_ids=frozenset(options.stop_ids),
                deliver=self._deliver(index),
            )
            for index, prompt in enumerate(prompts)
        ]
        try:
            engine.submit(self._tickets)
        except QueueFull:
            message = "too many requests are waiting: try again in a moment"
            raise ApiError(429, message, kind="rate_limit_error", code="rate_limit_exceeded") from None
        except Stopped:
            raise ApiError(503, "the server is shutting down", kind="server_error") from None

    def cancel(self) -> None:
        """Stops making the answers and ends the iteration; harmless after the end."""
        for ticket in self._tickets:
            ticket.cancel()
        self._events.put_nowait(None)

    async def pieces(self) -> AsyncIterator[Piece]:
        """The answers as they grow, mixed when there are several; each ends with a piece that has ``finish``.

        Raises:
            ApiError: 500 when the model failed.
        """
        growing = set(range(len(self._tickets)))
        held: list[list[dict[str, Any]]] = [[] for _ in self._tickets]
        while growing:
            event = await self._events.get()
            if event is None:
                return
            index, what = event
            if index not in growing:
                continue  # a token that was on its way when a stop string ended the answer
            piece = self._piece(index, what, held[index])
            if piece.finish:
                growing.discard(index)
                self._tickets[index].cancel()
            if piece.text or piece.finish:
                piece.logprobs, held[index] = held[index], []
                yield piece

    def _piece(self, index: int, event: Token | Ended, held: list[dict[str, Any]]) -> Piece:
        stream = self._streams[index]
        if isinstance(event, Ended):
            if event.reason == "error":
                raise ApiError(500, event.message, kind="server_error")
            text, stopped = stream.flush()
            return Piece(index, text, "stop" if stopped else event.reason)
        self.completion_tokens += 1
        if self._options.candidates is not None:
            held.append(logprob_entry(self._tokenizer, event))
        text, stopped = stream.push(event.token)
        return Piece(index, text, "stop" if stopped else None)

    def _deliver(self, index: int) -> Callable[[Token | Ended], None]:
        """A callback for the model thread that puts its events into this loop's queue."""

        def deliver(event: Token | Ended) -> None:
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._events.put_nowait, (index, event))

        return deliver

    def _context(self, prompt: Sequence[int]) -> Sequence[int]:
        context = prompt[-CONTEXT_IDS:]
        # A prompt of ids may end inside a character, whose text would change with the next token.
        return () if self._tokenizer.decode(context).endswith(REPLACEMENT) else context
