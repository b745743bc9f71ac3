"""A request's answers as pieces of text, over an engine whose batch counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from millrace.model.answers.continuous_batch import Token
from millrace.pipelines.serve.answers import Answers, Options, Piece, Prompt, echoed
from millrace.pipelines.serve.engine import Ended, Scored, Stopped, Ticket
from millrace.pipelines.serve.fair_queue import QueueFull
from millrace.pipelines.serve.openai_types import ApiError

DEFAULTS: dict[str, Any] = {
    "max_tokens": 9, "temperature": 0.0, "top_p": 1.0, "seed": 5, "stops": (), "stop_ids": (),
}  # fmt: skip


LENGTH = Ended("length")
PROMPT = Prompt([ord("p")])


class Letters:
    """A tokenizer whose ids are bytes."""

    token_bytes = tuple(bytes([byte]) for byte in range(256))


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
            if ticket.scored:
                ticket.deliver(Scored(tuple(Token(token, -3.0) for token in ticket.prompt[1:])))
            for byte in text.encode("latin-1"):
                ticket.deliver(Token(byte, -1.0, ((ord("x"), -2.0),)))
            ticket.deliver(self.end)


def pieces(engine: Scripted, prompt: Prompt = PROMPT, **options: Any) -> tuple[Answers, list[Piece]]:
    async def run() -> tuple[Answers, list[Piece]]:
        prompts = [prompt for _ in engine.texts]
        settings = Options(**{**DEFAULTS, **options})
        made = Answers(engine, Letters(), prompts, settings)  # type: ignore[arg-type]
        return made, [piece async for piece in made.pieces()]

    return asyncio.run(run())


def texts(found: Sequence[Piece]) -> Iterator[tuple[str, str | None]]:
    for index in range(1 + max(piece.index for piece in found)):
        own = [piece for piece in found if piece.index == index]
        yield "".join(piece.text for piece in own), own[-1].finish


@pytest.mark.parametrize("continues", [False, True])
def test_each_answer_is_its_tokens_and_ends_once(continues: bool) -> None:
    made, found = pieces(Scripted(["one", "three"]), Prompt([ord("p")], continues))
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
    scored = [(piece.text, [(chr(one.token), one.offset) for one in piece.scores]) for piece in found]
    assert scored[:2] == [("a", [("a", 0)]), ("-b", [("-", 1), ("b", 2)])]
    assert found[0].scores[0].candidates == ((ord("x"), -2.0),)


def test_without_candidates_no_log_probabilities_are_kept() -> None:
    assert not any(piece.scores for piece in pieces(Scripted(["abc"]))[1])


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
        made = Answers(engine, Letters(), [Prompt([1])], Options(**DEFAULTS))  # type: ignore[arg-type]
        cancel(made)
        return [piece async for piece in made.pieces()], engine.tickets[0].cancelled

    assert asyncio.run(run(Answers.cancel)) == ([], True)


@pytest.mark.parametrize(("end", "finish"), [("length", "length"), ("stop", "stop")])
def test_a_character_that_the_end_cuts_is_no_text(end: Any, finish: str) -> None:
    """Its bytes are in the log probabilities, and the reason is the true one."""
    _, found = pieces(Scripted(["a\xf0\x9f"], Ended(end)), candidates=0)
    assert list(texts(found)) == [("a", finish)]
    assert [one.token for piece in found for one in piece.scores] == [ord("a"), 0xF0, 0x9F]


@pytest.mark.parametrize("cut", range(1, 5))
def test_an_echo_and_its_answer_make_the_whole_text(cut: int) -> None:
    """Also when the prompt ends inside a character; offsets count from the beginning of the echo."""
    data = "p\U0001f30ap".encode()
    prompt = echoed(Letters(), list(data[:cut]), boundary_tokens=0)  # type: ignore[arg-type]
    for candidates in (None, 0):
        engine = Scripted([data[cut:].decode("latin-1")])
        _, found = pieces(engine, prompt, echo=True, candidates=candidates)
        assert "".join(piece.text for piece in found) == data.decode()
    scores = [one for piece in found for one in piece.scores]
    assert [one.token for one in scores] == list(data)
    assert [one.log_prob for one in scores] == [None] + [-3.0] * (cut - 1) + [-1.0] * (6 - cut)
    assert [one.offset for one in scores] == [0, 1, 1, 1, 1, 2]


def test_the_token_that_ends_a_scored_prompts_answer_is_scored_too() -> None:
    """One score for ``max_tokens: 1``, whether the model goes on or ends; elsewhere a stop token is no part of it."""
    prompt = echoed(Letters(), [*b"ab"], boundary_tokens=0)  # type: ignore[arg-type]
    for text, end in (("", Ended("stop", token=Token(9, -5.0))), ("c", LENGTH)):
        made, found = pieces(Scripted([text], end), prompt, echo=True, candidates=0)
        scores = [(one.token, one.offset) for piece in found for one in piece.scores]
        assert scores == [(ord("a"), 0), (ord("b"), 1), (ord(text) if text else 9, 2)]
        assert "".join(piece.text for piece in found) == f"ab{text}"
        assert made.completion_tokens == len(text)
    _, found = pieces(Scripted([""], Ended("stop", token=Token(9, -5.0))), candidates=0)
    assert not found[0].scores


def test_the_boundary_before_a_text_is_no_token_of_its_echo() -> None:
    prompt = echoed(Letters(), [0, *b"ab"], boundary_tokens=1)  # type: ignore[arg-type]
    _, found = pieces(Scripted([""]), prompt, echo=True, candidates=0)
    assert [(one.token, one.log_prob) for one in found[0].scores] == [(ord("a"), None), (ord("b"), -3.0)]
