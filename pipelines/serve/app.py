"""The HTTP application: OpenAI's routes, who may use them, and how large a request may be.

Routes: ``GET /health``, ``GET /v1/models``, ``GET /v1/models/{name}``, ``POST /v1/completions``,
``POST /v1/chat/completions``. Every error is OpenAI's error object.

Without a token the server answers only requests whose Host header names this machine, and only JSON bodies: otherwise
any web page open in the user's browser could talk to it, by DNS rebinding or a form.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .answers import Answers, Options, Piece
from .engine import Engine
from .event_stream import EventStream, cancel_when_gone
from .openai_types import (
    COMPLETION_DEFAULT_TOKENS,
    ApiError,
    ChatRequest,
    CompletionRequest,
    chat_logprobs,
    completion_logprobs,
    parse,
    usage,
)
from .served import Served

MAX_BODY_BYTES = 2**20
# A client that is still sending when the connection closes sees a broken pipe instead of the error: so read on, to a
# limit, and keep nothing.
DRAINED_BODIES = 16
CLIENT_CLOSED_REQUEST = 499  # nginx's status for a client that went away; nobody receives it

Handler = Callable[[Request], Awaitable[Response]]


def is_local(host: str) -> bool:
    """Whether a host name or address means this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def make_app(
    served: Served,
    *,
    token: str | None = None,
    max_waiting: int = 64,
    max_body_bytes: int = MAX_BODY_BYTES,
) -> Starlette:
    """The application over one model.

    Args:
        served: The model.
        token: The bearer token that every route but ``/health`` asks for; None asks for none and answers only
            requests addressed to this machine by name.
        max_waiting: Answers that may wait for a row before clients are told to come back.
        max_body_bytes: Largest request body.
    """
    server = _Server(
        served, Engine(served.batch, max_waiting=max_waiting), token, max_body_bytes, int(time.time())
    )

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        server.engine.start()
        try:
            yield
        finally:
            await asyncio.to_thread(server.engine.stop)

    guard = server.guard
    return Starlette(
        routes=[
            Route("/health", server.health),
            Route("/v1/models", guard(server.models)),
            Route("/v1/models/{name:path}", guard(server.model)),
            Route("/v1/completions", guard(server.completions), methods=["POST"]),
            Route("/v1/chat/completions", guard(server.chat), methods=["POST"]),
        ],
        exception_handlers={ApiError: _api_error, HTTPException: _http_error, Exception: _crash},
        lifespan=lifespan,
    )


async def _api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    headers = {401: {"WWW-Authenticate": "Bearer"}, 429: {"Retry-After": "1"}}.get(error.status)
    return JSONResponse(error.body, error.status, headers)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = f"{request.method} {request.url.path}: {error.detail}"
    return JSONResponse(ApiError(error.status_code, message).body, error.status_code, error.headers)


async def _crash(_: Request, __: Exception) -> Response:
    body = ApiError(500, "the server failed; its log says how", kind="server_error").body
    return JSONResponse(body, 500)


@dataclass(frozen=True)
class _Server:
    """The handlers and what they share."""

    served: Served
    engine: Engine
    token: str | None
    max_body_bytes: int
    started: int

    def guard(self, handler: Handler) -> Handler:
        """The handler behind the token, or behind the Host header when there is none."""

        async def guarded(request: Request) -> Response:
            if self.token is None:
                host = request.url.hostname or ""
                if not is_local(host):
                    message = f"got the Host {host!r}, expected localhost: start the server with --host to serve others"
                    raise ApiError(403, message, code="host_not_allowed")
            else:
                scheme, _, given = request.headers.get("authorization", "").partition(" ")
                known = hmac.compare_digest(given.strip().encode("latin-1"), self.token.encode())
                if scheme.lower() != "bearer" or not known:
                    message = "got no valid token, expected the header 'Authorization: Bearer TOKEN'"
                    raise ApiError(401, message, kind="authentication_error", code="invalid_api_key")
            return await handler(request)

        return guarded

    async def health(self, _: Request) -> Response:
        """Whether the server answers, and how busy it is."""
        answering, waiting = self.engine.load
        return JSONResponse(
            {"status": "ok", "model": self.served.name, "answering": answering, "waiting": waiting}
        )

    async def models(self, _: Request) -> Response:
        """The list of models: one."""
        return JSONResponse({"object": "list", "data": [self._card()]})

    async def model(self, request: Request) -> Response:
        """One model."""
        self._check_model(request.path_params["name"])
        return JSONResponse(self._card())

    async def completions(self, request: Request) -> Response:
        """Continues texts."""
        asked = parse(CompletionRequest, await self._body(request))
        self._check_model(asked.model)
        tokenizer, choices = self.served.tokenizer, asked.choices_wanted
        prompts = [
            [tokenizer.bos_id, *tokenizer.encode(prompt)] if isinstance(prompt, str) else prompt
            for prompt in asked.prompts
        ]
        for prompt in prompts:
            self._check_prompt(prompt, "prompt")
        wanted = asked.max_tokens
        room = self._room(max(map(len, prompts)), wanted, "max_tokens")
        options = Options(
            max_tokens=room if wanted else min(COMPLETION_DEFAULT_TOKENS, room),
            temperature=1.0 if asked.temperature is None else asked.temperature,
            top_p=asked.top_p or 1.0,
            seed=asked.seed,
            stops=asked.stops,
            stop_ids=[tokenizer.eos_id],
            candidates=asked.logprobs,
        )
        echoes = [
            tokenizer.decode(prompt) if asked.echo else "" for prompt in prompts for _ in range(choices)
        ]
        written = [
            len(echo) for echo in echoes
        ]  # characters of each answer that logprobs' offsets count from

        def choice(piece: Piece) -> dict[str, Any]:
            logprobs = None
            if asked.logprobs is not None:
                logprobs = completion_logprobs(piece.logprobs, written[piece.index])
                written[piece.index] += len(piece.text)
            return {
                "index": piece.index,
                "text": piece.text,
                "logprobs": logprobs,
                "finish_reason": piece.finish,
            }

        answers = Answers(
            self.engine,
            tokenizer,
            [prompt for prompt in prompts for _ in range(choices)],
            options,
            continues=True,
        )
        frame = self._frame("cmpl", "text_completion")
        openings = [Piece(index, echo) for index, echo in enumerate(echoes) if echo]
        counted = sum(map(len, prompts))
        if asked.stream:
            first = [choice(piece) for piece in openings]
            return self._stream(answers, frame, first, choice, counted, asked.wants_usage)
        pieces = await self._whole(request, answers, len(echoes))
        if pieces is None:
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        for opening in openings:
            pieces[opening.index].text = opening.text + pieces[opening.index].text
        return JSONResponse(
            {**frame, "choices": [*map(choice, pieces)], "usage": usage(counted, answers.completion_tokens)}
        )

    async def chat(self, request: Request) -> Response:
        """Answers the last message of a conversation."""
        asked = parse(ChatRequest, await self._body(request))
        self._check_model(asked.model)
        tokenizer = self.served.tokenizer
        messages = [
            {"role": "system" if message.role == "developer" else message.role, "content": message.text}
            for message in asked.messages
        ]
        prompt, _ = tokenizer.render_chat(messages, generate=True)
        self._check_prompt(prompt, "messages")
        limit_name = "max_completion_tokens" if asked.max_completion_tokens else "max_tokens"
        options = Options(
            max_tokens=self._room(len(prompt), asked.tokens_wanted, limit_name),
            temperature=1.0 if asked.temperature is None else asked.temperature,
            top_p=asked.top_p or 1.0,
            seed=asked.seed,
            stops=asked.stops,
            stop_ids=tokenizer.chat_stop_ids,
            candidates=(asked.top_logprobs or 0) if asked.logprobs else None,
        )

        def choice(piece: Piece, part: str, content: dict[str, Any]) -> dict[str, Any]:
            logprobs = chat_logprobs(piece.logprobs) if asked.logprobs else None
            return {"index": piece.index, part: content, "logprobs": logprobs, "finish_reason": piece.finish}

        def delta(piece: Piece) -> dict[str, Any]:
            return choice(piece, "delta", {"content": piece.text} if piece.text else {})

        answers = Answers(self.engine, tokenizer, [prompt] * asked.choices_wanted, options, continues=False)
        if asked.stream:
            start = {"role": "assistant", "content": ""}
            first = [choice(Piece(index, ""), "delta", start) for index in range(asked.choices_wanted)]
            frame = self._frame("chatcmpl", "chat.completion.chunk")
            return self._stream(answers, frame, first, delta, len(prompt), asked.wants_usage)
        pieces = await self._whole(request, answers, asked.choices_wanted)
        if pieces is None:
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        choices = [
            choice(piece, "message", {"role": "assistant", "content": piece.text, "refusal": None})
            for piece in pieces
        ]
        counts = usage(len(prompt), answers.completion_tokens)
        return JSONResponse(
            {**self._frame("chatcmpl", "chat.completion"), "choices": choices, "usage": counts}
        )

    def _card(self) -> dict[str, Any]:
        return {
            "id": self.served.name,
            "object": "model",
            "created": self.started,
            "owned_by": "millrace",
            "max_model_len": self.served.context_tokens,
        }

    def _frame(self, prefix: str, kind: str) -> dict[str, Any]:
        """The fields that every answer and every chunk of a request begins with."""
        return {
            "id": f"{prefix}-{uuid.uuid4().hex}",
            "object": kind,
            "created": int(time.time()),
            "model": self.served.name,
            "system_fingerprint": self.served.fingerprint,
        }

    def _check_model(self, name: str | None) -> None:
        if name not in (None, self.served.name):
            message = f"got the model {name!r}, expected {self.served.name!r}, the only one here"
            raise ApiError(404, message, param="model", code="model_not_found")

    def _check_prompt(self, prompt: list[int], param: str) -> None:
        """The prompt must leave room for one token and hold ids of the vocabulary."""
        limit = self.served.context_tokens
        if len(prompt) >= limit:
            message = f"got {len(prompt)} tokens in {param}, expected fewer than the context of {limit}"
            raise ApiError(400, message, param=param, code="context_length_exceeded")
        if any(token >= self.served.tokenizer.vocab_size for token in prompt):
            message = f"got a token id outside the vocabulary of {self.served.tokenizer.vocab_size}"
            raise ApiError(400, message, param=param, code="invalid_value")

    def _room(self, prompt_tokens: int, wanted: int | None, param: str) -> int:
        """Longest answer: what was asked for, which must fit, or all that fits."""
        room = self.served.context_tokens - prompt_tokens
        if wanted is not None and wanted > room:
            message = (
                f"got {prompt_tokens} tokens of prompt and {param} {wanted}, expected together at most the "
                f"context of {self.served.context_tokens}: shorten the prompt or ask for at most {room}"
            )
            raise ApiError(400, message, param=param, code="context_length_exceeded")
        return wanted or room

    async def _body(self, request: Request) -> bytes:
        """The request's body, read no further than the limit."""
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != "application/json":
            message = f"got the content type {content_type!r}, expected application/json"
            raise ApiError(415, message)
        body, received = bytearray(), 0
        try:
            async for part in request.stream():
                received += len(part)
                if received <= self.max_body_bytes:
                    body += part
                elif received > DRAINED_BODIES * self.max_body_bytes:
                    break
        except ClientDisconnect:
            raise ApiError(CLIENT_CLOSED_REQUEST, "the client went away") from None
        if received > self.max_body_bytes:
            message = f"got a body of more than {self.max_body_bytes} bytes, expected a smaller request"
            raise ApiError(413, message, code="request_too_large")
        return bytes(body)

    async def _whole(self, request: Request, answers: Answers, count: int) -> list[Piece] | None:
        """Complete answers in order, or None when the client did not wait for them."""
        watch = asyncio.create_task(cancel_when_gone(request.receive, answers))
        whole = [Piece(index, "") for index in range(count)]
        try:
            async for piece in answers.pieces():
                target = whole[piece.index]
                target.text += piece.text
                target.logprobs += piece.logprobs
                target.finish = piece.finish
        finally:
            watch.cancel()
            answers.cancel()
        return whole if all(piece.finish for piece in whole) else None

    def _stream(
        self,
        answers: Answers,
        frame: dict[str, Any],
        first: list[dict[str, Any]],
        choice: Callable[[Piece], dict[str, Any]],
        prompt_tokens: int,
        wants_usage: bool,
    ) -> Response:
        """The answers as server-sent events."""

        async def chunks() -> AsyncIterator[dict[str, Any]]:
            for opening in first:
                yield {**frame, "choices": [opening]}
            async for piece in answers.pieces():
                yield {**frame, "choices": [choice(piece)]}
            if wants_usage:
                yield {**frame, "choices": [], "usage": usage(prompt_tokens, answers.completion_tokens)}

        return EventStream(answers, chunks())
