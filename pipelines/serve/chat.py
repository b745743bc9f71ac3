"""A conversation with a package in the terminal.

Three ways in: a terminal gives a loop of turns, ``prompt`` (or a pipe, whose whole text is one message) gives one answer
and ends. Answers appear as they are written. Ctrl-C ends the answer, not the program; its text so far stays in the
conversation. When the conversation outgrows the model's context, the oldest turns are left out and that is said.

A model's text may hold any character, terminal escapes included, so on a terminal control characters other than
newline and tab are shown as U+FFFD; into a pipe or file everything goes as it is.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from millrace.pipelines.cli.views.controls import without_controls

from .served import Served

if TYPE_CHECKING:
    from millrace.model.package.package import Weights

ANSWER_SHARE = 4  # an answer must have room for a quarter of the context, or the oldest turns go
HELP = "/reset forgets the conversation, /exit (or Ctrl-D) leaves, Ctrl-C ends an answer"


class ChatError(Exception):
    """The conversation cannot go on and the user can mend it."""


@dataclass
class Conversation:
    """The turns so far and how answers to them are made.

    Attributes:
        served: The model.
        system: The system message, or None.
        temperature: See ``Sampling``.
        top_p: See ``Sampling``.
        max_tokens: Longest answer; None is all that fits.
        seed: Of the first answer, the next one has the next; None draws one for each.
        turns: Messages after the system message.
    """

    served: Served
    system: str | None = None
    temperature: float = 0.7
    top_p: float = 0.95
    max_tokens: int | None = None
    seed: int | None = None
    turns: list[dict[str, str]] = field(default_factory=list)

    def fit(self, text: str) -> tuple[list[int], int]:
        """The prompt for a new message, as tokens, and how many old messages had to be left out of it for good.

        Raises:
            ChatError: The message does not fit even alone.
        """
        context = self.served.context_tokens
        room = min(self.max_tokens or context, context // ANSWER_SHARE)
        first = [{"role": "system", "content": self.system}] if self.system else []
        turns = [*self.turns, {"role": "user", "content": text}]
        prompt: list[int] = []
        for dropped in range(0, len(turns), 2):  # a user's message goes with its answer
            prompt, _ = self.served.tokenizer.render_chat([*first, *turns[dropped:]], generate=True)
            if len(prompt) + room <= context:
                self.turns = turns[dropped:-1]
                return prompt, dropped
        raise ChatError(
            f"got a message of {len(prompt)} tokens, expected at most {context - room} (the model's context is "
            f"{context}): shorten it"
        )

    def answer(self, prompt: Sequence[int], text: str) -> Iterator[str]:
        """The pieces of the answer to a fitted prompt; the exchange joins the turns when the iteration ends.

        An iteration that is closed or interrupted keeps what was said so far.
        """
        from millrace.model.answers.continuous_batch import Sampling

        from .text_stream import TextStream

        batch, tokenizer = self.served.batch, self.served.tokenizer
        seed = secrets.randbits(32) if self.seed is None else self.seed + len(self.turns) // 2
        room = self.served.context_tokens - len(prompt)
        limit = min(self.max_tokens or room, room)
        stream, said = TextStream(tokenizer.token_bytes), ""
        try:
            row, token, _ = batch.admit(prompt, Sampling(self.temperature, self.top_p, seed))
            for count in range(1, limit + 1):
                if token.token in tokenizer.chat_stop_ids:
                    break
                piece, _ = stream.push(token.token)
                said += piece
                if piece:
                    yield piece
                if count < limit:
                    token = batch.step()[row]
            piece = stream.flush()
            said += piece
            if piece:
                yield piece
        finally:
            batch.reset()  # also right after an interrupt in the middle of a step
            self.turns += [{"role": "user", "content": text}, {"role": "assistant", "content": said}]


def chat(
    package: Path,
    *,
    weights: Weights = "float32",
    prompt: str | None = None,
    system: str | None = None,
    temperature: float = 0.7,
    top_p: float = 0.95,
    max_tokens: int | None = None,
    seed: int | None = None,
    source: TextIO | None = None,
    out: TextIO | None = None,
) -> None:
    """Talks to a package until the user leaves, or once.

    Args:
        package: The package folder.
        weights: ``float32`` or ``int4``.
        prompt: Answer this message and return; None reads messages from ``source``.
        system: A system message.
        temperature: 0 gives the likeliest answer.
        top_p: Share of the probability that tokens are drawn from.
        max_tokens: Longest answer.
        seed: Makes answers repeatable.
        source: Where messages come from; standard input when None.
        out: Where answers go; standard output when None.

    Raises:
        ChatError: One message was given and does not fit, or is empty.
        PackageError: The folder is no package.
    """
    from .served import load

    reader, writer = source or sys.stdin, out or sys.stdout
    served = load(package, weights, rows=1, warm_up=False)
    conversation = Conversation(served, system, temperature, top_p, max_tokens, seed)
    if prompt is None and not reader.isatty():
        prompt = reader.read()
    if prompt is None:
        _loop(conversation, reader, writer)
        return
    if not prompt.strip():
        raise ChatError("got an empty message, expected text in --prompt or on standard input")
    _say(conversation, prompt.strip("\n"), writer)


def _loop(conversation: Conversation, source: TextIO, out: TextIO) -> None:
    """Turns until the user leaves."""
    from rich.console import Console
    from rich.markup import escape

    console = Console(file=out, highlight=False)
    console.print(f"[bold]{escape(conversation.served.name)}[/bold]  [dim]{HELP}[/dim]")
    while True:
        try:
            text = console.input(
                "[bold cyan]you[/bold cyan] ", stream=None if source is sys.stdin else source
            )
        except KeyboardInterrupt:
            console.print(f"\n[dim]{HELP}[/dim]")
            continue
        except EOFError:
            out.write("\n")
            return
        if not text and source is not sys.stdin:
            return  # the end of a given stream, which ``input`` does not tell from an empty line
        command = text.strip()
        if command in ("/exit", "/quit"):
            return
        if command == "/reset":
            conversation.turns.clear()
            console.print("[dim]forgotten[/dim]")
        elif command == "/help":
            console.print(f"[dim]{HELP}[/dim]")
        elif command:
            try:
                _say(conversation, text.rstrip("\n"), out)
            except ChatError as error:
                console.print(f"[red]{escape(str(error))}[/red]")


def _say(conversation: Conversation, text: str, out: TextIO) -> None:
    """Writes the answer to one message as it comes."""
    prompt, dropped = conversation.fit(text)
    terminal = out.isatty()
    if dropped and terminal:
        out.write(f"({dropped} of the oldest messages no longer fit and are forgotten)\n")
    pieces = conversation.answer(prompt, text)
    try:
        for piece in pieces:
            out.write(without_controls(piece) if terminal else piece)
            out.flush()
    except KeyboardInterrupt:
        pieces.close()  # type: ignore[attr-defined]
    out.write("\n")
    out.flush()
