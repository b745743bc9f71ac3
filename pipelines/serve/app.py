"""The HTTP application: OpenAI's routes over one model.

Routes: ``GET /health``, ``GET /v1/models``, ``GET /v1/models/{name}``, ``POST /v1/completions``,
``POST /v1/chat/completions``. Every error is OpenAI's error object. Who may use them is in ``http.access``, how much they
take in ``http.limits`` and ``http.bodies``.

Requests are worked out, and whole answers written, by a thread beside the event loop: one for all requests, because more
would only wait for each other, and the loop for all of them, at the interpreter's lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .answers import Answers, Piece
from .engine import Engine
from .event_stream import EventStream, cancel_when_gone
from .http.access import Access, client_of
from .http.bodies import MAX_BODY_BYTES, read_body
from .http.logprobs import chat_logprobs, completion_logprobs
from .http.requests import Asked, check_model, read_chat, read_completion
from .openai_types import CLIENT_CLOSED_REQUEST, ApiError, error_response, usage
from .served import Served


def make_app(
    served: Served,
    *,
    token: str | None = None,
    local: bool = True,
    max_waiting: int = 64,
    max_body_bytes: int = MAX_BODY_BYTES,
) -> Starlette:
    """The application over one model.

    Args:
        served: The model.
        token: The bearer token that every route but ``/health`` asks for; None asks for none.
        local: Whether the server is for this machine only: then whoever shows no token must address it by a name of
            this machine.
        max_waiting: Answers that may wait for a row before clients are told to come back; those of one request count
            as at most an eighth.
        max_body_bytes: Largest request body.
    """
    clerk = ThreadPoolExecutor(1, thread_name_prefix="millrace-requests")
    server = _Server(
        served, Engine(served.batch, max_waiting=max_waiting), clerk, max_body_bytes, int(time.time())
    )

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        server.engine.start()
        try:
            yield
        finally:
            clerk.shutdown(wait=False, cancel_futures=True)
            await asyncio.to_thread(server.engine.stop)

    return Starlette(
        routes=[
            Route("/health", server.health),
            Route("/v1/models", server.models),
            Route("/v1/models/{name:path}", server.model),
            Route("/v1/completions", server.completions, methods=["POST"]),
            Route("/v1/chat/completions", server.chat, methods=["POST"]),
        ],
        middleware=[Middleware(Access, token=token, local=local)],
        exception_handlers={ApiError: _api_error, HTTPException: _http_error, Exception: _crash},
        lifespan=lifespan,
    )


async def _api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error_response(error)


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
    clerk: ThreadPoolExecutor
    max_body_bytes: int
    started: int

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
        check_model(self.served, request.path_params["name"])
        return JSONResponse(self._card())

    async def completions(self, request: Request) -> Response:
        """Continues texts."""
        asked = await self._asked(request, read_completion)

        def choice(piece: Piece) -> dict[str, Any]:
            scores = asked.options.candidates is not None
            return {
                "index": piece.index,
                "text": piece.text,
                "logprobs": completion_logprobs(self.served.tokenizer, piece.scores) if scores else None,
                "finish_reason": piece.finish,
            }

        answers = self._answers(request, asked)
        frame = self._frame("cmpl", "text_completion")
        if asked.streamed:
            return self._stream(answers, frame, [], choice, asked)
        return await self._whole(request, answers, frame, choice, asked)

    async def chat(self, request: Request) -> Response:
        """Answers the last message of a conversation."""
        asked = await self._asked(request, read_chat)

        def choice(piece: Piece, part: str, content: dict[str, Any]) -> dict[str, Any]:
            scores = asked.options.candidates is not None
            return {
                "index": piece.index,
                part: content,
                "logprobs": chat_logprobs(self.served.tokenizer, piece.scores) if scores else None,
                "finish_reason": piece.finish,
            }

        def delta(piece: Piece) -> dict[str, Any]:
            return choice(piece, "delta", {"content": piece.text} if piece.text else {})

        def message(piece: Piece) -> dict[str, Any]:
            return choice(piece, "message", {"role": "assistant", "content": piece.text, "refusal": None})

        answers = self._answers(request, asked)
        if asked.streamed:
            start = {"role": "assistant", "content": ""}
            first = [choice(Piece(index, ""), "delta", start) for index in range(len(asked.prompts))]
            return self._stream(
                answers, self._frame("chatcmpl", "chat.completion.chunk"), first, delta, asked
            )
        return await self._whole(request, answers, self._frame("chatcmpl", "chat.completion"), message, asked)

    async def _asked(self, request: Request, read: Callable[[Served, bytes], Asked]) -> Asked:
        """What a request asks, worked out away from the event loop."""
        body = await read_body(request, self.max_body_bytes)
        return await asyncio.get_running_loop().run_in_executor(self.clerk, read, self.served, body)

    def _answers(self, request: Request, asked: Asked) -> Answers:
        return Answers(
            self.engine, self.served.tokenizer, asked.prompts, asked.options, client=client_of(request)
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

    async def _whole(
        self,
        request: Request,
        answers: Answers,
        frame: dict[str, Any],
        choice: Callable[[Piece], dict[str, Any]],
        asked: Asked,
    ) -> Response:
        """The complete answers in order, for a client that waits for them."""
        watch = asyncio.create_task(cancel_when_gone(request.receive, answers))
        whole = [Piece(index, "") for index in range(len(asked.prompts))]
        try:
            async for piece in answers.pieces():
                target = whole[piece.index]
                target.text += piece.text
                target.scores += piece.scores
                target.finish = piece.finish
        finally:
            watch.cancel()
            answers.cancel()
        if not all(piece.finish for piece in whole):
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        counts = usage(asked.prompt_tokens, answers.completion_tokens)
        # The log probabilities of long prompts are megabytes of JSON.
        return await asyncio.get_running_loop().run_in_executor(
            self.clerk, lambda: JSONResponse({**frame, "choices": [*map(choice, whole)], "usage": counts})
        )

    def _stream(
        self,
        answers: Answers,
        frame: dict[str, Any],
        first: list[dict[str, Any]],
        choice: Callable[[Piece], dict[str, Any]],
        asked: Asked,
    ) -> Response:
        """The answers as server-sent events."""

        async def chunks() -> AsyncIterator[dict[str, Any]]:
            for opening in first:
                yield {**frame, "choices": [opening]}
            async for piece in answers.pieces():
                yield {**frame, "choices": [choice(piece)]}
            if asked.wants_usage:
                counts = usage(asked.prompt_tokens, answers.completion_tokens)
                yield {**frame, "choices": [], "usage": counts}

        return EventStream(answers, chunks())
