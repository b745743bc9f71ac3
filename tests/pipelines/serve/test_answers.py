"""A request's answers as pieces of text, over an engine whose batch counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from millrace.model.answers.continuous_batch import Token
from millrace.pipelines.serve.answers import Answers, Options, Piece
from millrace.pipelines.serve.engine import Ended, QueueFull, Stopped, Ticket
from millrace.pipelines.serve.openai_types import ApiError

DEFAULTS: dict[str, Any] = {
    "max_tokens": 9, "temperature": 0.0, "top_p": 1.0, "seed": 5, "stops": (), "stop_ids": (),
}  # fmt: skip


LENGTH = Ended("length")


class Letters:
    """A tokenizer whose ids are code points."""

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids))


class Scripted:
    """An engine that answers at once with a text for each prompt, or refuses."""

    def __init__(self, texts: Sequence[str], end: Ended = LENGTH, refuses: Exception | None = None) -> None:
        self.texts, self.end, self.refuses = texts, end, refuses
        self.tickets: list[Ticket] = []

    def submit(self, tickets: Sequence[Ticket]) -> None:
        if self.refuses:
            raise self.refuses
        self.tickets.extend(tickets)
        for ticket, text in zip(tickets, self.texts, strict=True):
            for letter in text:
                ticket.deliver(Token(ord(letter), -1.0, ((ord("x"), -2.0),)))
            ticket.deliver(self.end)


def pieces(engine: Scripted, continues: bool = False, **options: Any) -> tuple[Answers, list[Piece]]:
    async def run() -> tuple[Answers, list[Piece]]:
        prompts = [[ord("p")] for _ in engine.texts]
        settings = Options(**{**DEFAULTS, **options})
        made = Answers(engine, Letters(), prompts, settings, continues=continues)  # type: ignore[arg-type]
        return made, [piece async for piece in made.pieces()]

    return asyncio.run(run())


def texts(found: Sequence[Piece]) -> Iterator[tuple[str, str | None]]:
    for index in range(1 + max(piece.index for piece in found)):
        own = [piece for piece in found if piece.index == index]
        yield "".join(piece.text for piece in own), own[-1].finish


@pytest.mark.parametrize("continues", [False, True])
def test_each_answer_is_its_tokens_and_ends_once(continues: bool) -> None:
    made, found = pieces(Scripted(["one", "three"]), continues)
    assert list(texts(found)) == [("one", "length"), ("three", "length")]
    assert sum(piece.finish is not None for piece in found) == 2
    assert made.completion_tokens == 8


def test_a_stop_string_ends_one_answer_and_frees_its_row() -> None:
    engine = Scripted(["a--b", "abcd"])
    _, found = pieces(engine, stops=["--"])
    assert list(texts(found)) == [("a", "stop"), ("abcd", "length")]
    assert all(ticket.cancelled for ticket in engine.tickets)


def test_answers_of_one_prompt_have_seeds_that_follow_one_another() -> None:
    engine = Scripted(["a", "b", "c"])
    pieces(engine)
    assert [ticket.sampling.seed for ticket in engine.tickets] == [5, 6, 7]


def test_log_probabilities_come_with_the_piece_that_their_tokens_end_in() -> None:
    """Text that may become a stop string is held back, and its tokens' entries with it."""
    _, found = pieces(Scripted(["a-b"]), stops=["--"], candidates=1)
    assert [(piece.text, [entry["text"] for entry in piece.logprobs]) for piece in found if piece.text] == [
        ("a", ["a"]),
        ("-b", ["-", "b"]),
    ]
    assert found[0].logprobs[0]["candidates"] == [("x", -2.0)]


def test_without_candidates_no_log_probabilities_are_kept() -> None:
    assert not any(piece.logprobs for piece in pieces(Scripted(["abc"]))[1])


@pytest.mark.parametrize(("refuses", "status"), [(QueueFull(), 429), (Stopped(), 503)])
def test_an_engine_that_refuses_is_an_error_for_the_client(refuses: Exception, status: int) -> None:
    with pytest.raises(ApiError) as raised:
        pieces(Scripted(["a"], refuses=refuses))
    assert raised.value.status == status


def test_a_model_that_fails_is_an_error_for_the_client() -> None:
    with pytest.raises(ApiError, match="the model failed"):
        pieces(Scripted(["a"], Ended("error", "the model failed")))


def test_cancelling_ends_the_iteration() -> None:
    async def run(cancel: Callable[[Answers], None]) -> tuple[list[Piece], bool]:
        engine = Scripted([""], end=Ended("length"))
        engine.submit = lambda tickets: engine.tickets.extend(tickets)  # type: ignore[method-assign]
        made = Answers(engine, Letters(), [[1]], Options(**DEFAULTS), continues=False)  # type: ignore[arg-type]
        cancel(made)
        return [piece async for piece in made.pieces()], engine.tickets[0].cancelled

    assert asyncio.run(run(Answers.cancel)) == ([], True)
