"""One request's answers, as pieces of text: the bridge from the model thread to the event loop.

A request asks for one or more answers (several prompts, ``n`` choices). All are queued together, their tokens arrive
in one asyncio queue, and each has its own ``TextStream``. When a stop string is found or the client goes away, the
tickets are cancelled, which frees the rows of the model.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field

from millrace.data.tokenizer.tokenizer import Tokenizer
from millrace.model.answers.continuous_batch import Sampling, Token

from .engine import Ended, Engine, Event, Scored, Stopped, Ticket
from .fair_queue import QueueFull
from .openai_types import ApiError
from .text_stream import IncrementalDecoder, TextStream


@dataclass(frozen=True)
class Prompt:
    """What an answer goes on from.

    Attributes:
        ids: Its tokens.
        continued: Whether the answer continues its text (a completion) or stands alone (a chat's turn).
        echo: Its text, where the answer begins with it, without a character that its last ids leave unfinished.
        offsets: Where in ``echo`` the tokens begin, in characters, but for ids at the beginning that stand for no text
            of the request (the boundary); empty without an echo.
    """

    ids: Sequence[int]
    continued: bool = False
    echo: str = ""
    offsets: Sequence[int] = ()


def echoed(tokenizer: Tokenizer, ids: Sequence[int], *, boundary_tokens: int) -> Prompt:
    """A prompt that its answer repeats.

    Args:
        tokenizer: Decodes it.
        ids: Its tokens.
        boundary_tokens: How many at the beginning are none of the request's.
    """
    decoder = IncrementalDecoder(tokenizer.token_bytes)
    text, offsets = [], []
    for token in ids:
        text.append(decoder.push(token))
        offsets.append(decoder.offset)
    return Prompt(ids, continued=True, echo="".join(text), offsets=offsets[boundary_tokens:])


@dataclass(frozen=True)
class Options:
    """How every answer of a request is made.

    Attributes:
        max_tokens: Longest answer; 0 only reads the prompts.
        temperature: See ``Sampling``.
        top_p: See ``Sampling``.
        seed: Of the first answer, the next one has the next; None draws one at random.
        stops: Stop strings.
        stop_ids: Stop tokens.
        candidates: Alternatives to report per token; None reports no log probabilities at all.
        echo: Whether an answer begins with its prompt.
    """

    max_tokens: int
    temperature: float
    top_p: float
    seed: int | None
    stops: Sequence[str]
    stop_ids: Sequence[int]
    candidates: int | None = None
    echo: bool = False


@dataclass(frozen=True)
class TokenScore:
    """A token of an answer with its log probability.

    Attributes:
        token: Its id.
        log_prob: In nats; None for the first of a prompt, which nothing stands before.
        candidates: The likeliest ids in its place, with their log probabilities.
        offset: Where in the answer's text it begins, in characters.
    """

    token: int
    log_prob: float | None
    candidates: Sequence[tuple[int, float]]
    offset: int


@dataclass
class Piece:
    """A part of one answer.

    Attributes:
        index: Which answer.
        text: What it adds, possibly nothing.
        finish: ``stop`` or ``length`` in the answer's last piece.
        scores: Of the tokens since the piece before, where log probabilities are asked for.
    """

    index: int
    text: str
    finish: str | None = None
    scores: list[TokenScore] = field(default_factory=list)


class Answers:
    """The answers to the prompts of one request, in the making from the moment this is created.

    Where prompts are scored, the stop token that ends an answer is scored too: lm-evaluation-harness asks for one token
    and takes the last score for that token's, whichever it is.

    Args:
        engine: Where they are made.
        tokenizer: Decodes them.
        prompts: One per answer.
        options: How they are made.
        client: Who asks.

    Raises:
        ApiError: 429 when the queue is full, 503 when the server is shutting down.
    """

    def __init__(
        self,
        engine: Engine,
        tokenizer: Tokenizer,
        prompts: Sequence[Prompt],
        options: Options,
        *,
        client: str = "",
    ) -> None:
        self.completion_tokens = 0
        self._options, self._prompts = options, prompts
        self._events: asyncio.Queue[tuple[int, Event] | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._streams = [
            TextStream(tokenizer.token_bytes, options.stops, prompt.ids if prompt.continued else ())
            for prompt in prompts
        ]
        self._scores_prompts = options.echo and options.candidates is not None
        seed = secrets.randbits(32) if options.seed is None else options.seed
        self._tickets = [
            Ticket(
                prompt=prompt.ids,
                sampling=Sampling(options.temperature, options.top_p, seed + index, options.candidates or 0),
                max_tokens=options.max_tokens,
                stop_ids=frozenset(options.stop_ids),
                deliver=self._deliver(index),
                client=client,
                scored=self._scores_prompts,
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
        held: list[list[TokenScore]] = [[] for _ in self._tickets]
        if self._options.echo and not self._scores_prompts:
            for index, prompt in enumerate(self._prompts):
                if prompt.echo:
                    yield Piece(index, prompt.echo)
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
                piece.scores, held[index] = held[index], []
                yield piece

    def _piece(self, index: int, event: Event, held: list[TokenScore]) -> Piece:
        stream = self._streams[index]
        if isinstance(event, Ended):
            if event.reason == "error":
                raise ApiError(500, event.message, kind="server_error")
            if event.token and self._scores_prompts:
                held.append(self._score(index, event.token, stream.end))
            return Piece(index, stream.flush(), event.reason)
        if isinstance(event, Scored):
            held += self._prompt_scores(self._prompts[index], event.tokens)
            return Piece(index, self._prompts[index].echo)
        self.completion_tokens += 1
        text, stopped = stream.push(event.token)
        if self._options.candidates is not None:
            held.append(self._score(index, event, stream.offset))
        return Piece(index, text, "stop" if stopped else None)

    def _score(self, index: int, token: Token, offset: int) -> TokenScore:
        """A token of an answer, which begins at an offset in what follows the prompt."""
        return TokenScore(
            token.token, token.log_prob, token.candidates, len(self._prompts[index].echo) + offset
        )

    def _prompt_scores(self, prompt: Prompt, scored: Sequence[Token]) -> Iterator[TokenScore]:
        """The tokens of a prompt's text; the first has no log probability, as with every other server."""
        boundary_tokens = len(prompt.ids) - len(prompt.offsets)
        for place, offset in enumerate(prompt.offsets, boundary_tokens):
            if place == boundary_tokens:
                yield TokenScore(prompt.ids[place], None, (), offset)
            else:
                known = scored[place - 1]
                yield TokenScore(known.token, known.log_prob, known.candidates, offset)

    def _deliver(self, index: int) -> Callable[[Event], None]:
        """A callback for the model thread that puts its events into this loop's queue."""

        def deliver(event: Event) -> None:
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._events.put_nowait, (index, event))

        return deliver
