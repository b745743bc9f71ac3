"""The model thread: one thread owns the decoder, and every request waits its turn in one queue.

Requests come from the event loop (or any thread) through ``submit`` and get their tokens through a callback, one event
at a time. The thread admits waiting answers in turns of their clients and requests (``fair_queue``) as rows of the batch
become free and then advances all of them together, so that a short answer does not wait behind a long one. A ticket that
is cancelled (its client went away, or a stop string was found) frees its row before the next token.

The queue is bounded: a server that accepts more than it can answer only makes everybody wait until they give up.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from .fair_queue import FairQueue

if TYPE_CHECKING:
    from millrace.model.answers.continuous_batch import ContinuousBatch, Sampling, Token

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scored:
    """The prompt has been read and scored: the first event of an answer that asked for it.

    Attributes:
        tokens: The prompt's tokens but the first.
    """

    tokens: tuple[Token, ...]


@dataclass(frozen=True)
class Ended:
    """The last event of an answer.

    Attributes:
        reason: ``stop`` (the model ended it), ``length`` (the limit or the end of the context) or ``error``.
        message: What went wrong, for ``error``.
        token: The stop token that ended it, for ``stop``.
    """

    reason: Literal["stop", "length", "error"]
    message: str = ""
    token: Token | None = None


Event: TypeAlias = "Scored | Token | Ended"


class Stopped(Exception):
    """The engine has been stopped."""


@dataclass(eq=False)
class Ticket:
    """One answer in the making.

    Attributes:
        prompt: Token ids.
        sampling: How tokens are chosen.
        max_tokens: Longest answer; 0 only reads the prompt.
        stop_ids: Tokens that end the answer; they are not handed over.
        deliver: Called on the model thread with each ``Token`` and at last an ``Ended``; must not block.
        client: Who asks: answers are handed out in turns of the clients.
        scored: Whether a ``Scored`` comes first.
        count: Tokens handed over so far.
    """

    prompt: Sequence[int]
    sampling: Sampling
    max_tokens: int
    stop_ids: frozenset[int]
    deliver: Callable[[Event], None]
    client: str = ""
    scored: bool = False
    count: int = 0
    _cancelled: threading.Event = field(default_factory=threading.Event)

    def cancel(self) -> None:
        """Nobody wants the rest: no further token is computed. Any thread may call it, at any time."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        """Whether ``cancel`` has been called."""
        return self._cancelled.is_set()


class Engine:
    """Runs a ``ContinuousBatch`` on its own thread.

    Args:
        batch: The rows; owned by the engine from now on.
        max_waiting: Answers that may wait for a row; those of one request count as at most an eighth.
    """

    def __init__(self, batch: ContinuousBatch, *, max_waiting: int = 64) -> None:
        self.capacity_tokens = batch.capacity_tokens
        self._batch = batch
        self._waiting: FairQueue[Ticket] = FairQueue(max_waiting)
        self._rows: dict[int, Ticket] = {}
        self._wake = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="millrace-model", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ends every answer with an error and the thread after the token that it is at."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def load(self) -> tuple[int, int]:
        """Answers in the making and answers that wait."""
        with self._wake:
            return len(self._rows), len(self._waiting)

    def submit(self, tickets: Sequence[Ticket]) -> None:
        """Queues the answers of one request, all of them or none.

        Raises:
            QueueFull: Too many are waiting already, of all clients or of this one.
            Stopped: The engine has been stopped.
        """
        with self._wake:
            if self._stopping:
                raise Stopped
            self._waiting.put(tickets)
            self._wake.notify()

    def _work(self) -> None:
        """Admits and advances until stopped."""
        while True:
            with self._wake:
                while not (self._waiting or self._rows or self._stopping):
                    self._wake.wait()
                if self._stopping:
                    left = [*self._rows.values(), *self._waiting.clear()]
                    self._rows.clear()
                    break
            try:
                self._advance()
            except Exception as error:  # the requests that it hit get it; the next ones get a fresh try
                LOG.exception("the model thread failed")
                self._fail_all(f"the model failed: {type(error).__name__}")
        for ticket in left:
            ticket.deliver(Ended("error", "the server is shutting down"))

    def _advance(self) -> None:
        """Frees the rows of cancelled tickets, admits waiting ones, adds a token to every row."""
        for row in [row for row, ticket in self._rows.items() if ticket.cancelled]:
            self._free(row)
        while self._batch.free_rows and (ticket := self._next()) is not None:
            try:
                row, token, scores = self._batch.admit(ticket.prompt, ticket.sampling, scored=ticket.scored)
            except Exception:
                ticket.deliver(Ended("error", "the model failed to read the prompt"))
                raise
            self._rows[row] = ticket
            if ticket.scored:
                ticket.deliver(Scored(scores))
            if ticket.max_tokens:
                self._take(row, token)
            else:
                self._free(row)
                ticket.deliver(Ended("length"))
        for row, token in self._batch.step().items():
            self._take(row, token)

    def _next(self) -> Ticket | None:
        """The ticket whose turn it is."""
        with self._wake:
            return self._waiting.take()

    def _take(self, row: int, token: Token) -> None:
        """Hands a token over and ends the answer where it must end."""
        ticket = self._rows[row]
        if token.token in ticket.stop_ids:
            self._free(row)
            ticket.deliver(Ended("stop", token=token))
            return
        ticket.count += 1
        ticket.deliver(token)
        if ticket.count >= ticket.max_tokens or len(ticket.prompt) + ticket.count >= self.capacity_tokens:
            self._free(row)
            ticket.deliver(Ended("length"))

    def _free(self, row: int) -> None:
        del self._rows[row]
        self._batch.release(row)

    def _fail_all(self, message: str) -> None:
        """Ends every answer in the making with an error."""
        failed = list(self._rows.values())
        self._rows.clear()
        self._batch.reset()
        for ticket in failed:
            ticket.deliver(Ended("error", message))
