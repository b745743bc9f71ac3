"""From a request's body to what the model is asked: parsing, limits, validation and tokenising.

All of it is plain work on a body that a stranger sent, up to a tenth of a second of it, so the application does it away
from the event loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from millrace.pipelines.serve.answers import Options, Prompt, echoed
from millrace.pipelines.serve.openai_types import (
    COMPLETION_DEFAULT_TOKENS,
    ApiError,
    ChatRequest,
    CompletionRequest,
    read_json,
    validate,
)
from millrace.pipelines.serve.served import Served

from .limits import check_counts, check_items, check_scored, check_text


@dataclass(frozen=True)
class Asked:
    """What a request asks of the model.

    Attributes:
        prompts: One per answer.
        options: How the answers are made.
        prompt_tokens: Tokens of the request's prompts, each counted once.
        streamed: Whether the answers are sent as they grow.
        wants_usage: Whether a stream ends with a chunk of token counts.
    """

    prompts: Sequence[Prompt]
    options: Options
    prompt_tokens: int
    streamed: bool
    wants_usage: bool


def read_completion(served: Served, body: bytes) -> Asked:
    """Reads the body of ``POST /v1/completions``.

    Raises:
        ApiError: Something about it is wrong.
    """
    asked = validate(CompletionRequest, _values(served, body))
    check_model(served, asked.model)
    prompts = [_completion_prompt(served, prompt, echo=bool(asked.echo)) for prompt in asked.prompts]
    for prompt in prompts:
        _check_prompt(served, prompt.ids, "prompt", answered=asked.max_tokens != 0)
    prompt_tokens = sum(len(prompt.ids) for prompt in prompts)
    if asked.echo and asked.logprobs is not None:
        check_scored(prompt_tokens * asked.choices_wanted)
    room = _room(served, max(len(prompt.ids) for prompt in prompts), asked.max_tokens, "max_tokens")
    return Asked(
        prompts=[prompt for prompt in prompts for _ in range(asked.choices_wanted)],
        options=Options(
            max_tokens=min(COMPLETION_DEFAULT_TOKENS, room) if asked.max_tokens is None else asked.max_tokens,
            temperature=1.0 if asked.temperature is None else asked.temperature,
            top_p=asked.top_p or 1.0,
            seed=asked.seed,
            stops=asked.stops,
            stop_ids=[served.tokenizer.eos_id],
            candidates=asked.logprobs,
            echo=bool(asked.echo),
        ),
        prompt_tokens=prompt_tokens,
        streamed=bool(asked.stream),
        wants_usage=asked.wants_usage,
    )


def read_chat(served: Served, body: bytes) -> Asked:
    """Reads the body of ``POST /v1/chat/completions``.

    Raises:
        ApiError: Something about it is wrong.
    """
    asked = validate(ChatRequest, _values(served, body))
    check_model(served, asked.model)
    turns = asked.turns
    for turn in turns:
        _check_text(served, turn["content"], "messages")
    ids, _ = served.tokenizer.render_chat(turns, generate=True)
    _check_prompt(served, ids, "messages", answered=True)
    limit_name = "max_completion_tokens" if asked.max_completion_tokens else "max_tokens"
    room = _room(served, len(ids), asked.tokens_wanted, limit_name)
    return Asked(
        prompts=[Prompt(ids)] * asked.choices_wanted,
        options=Options(
            max_tokens=asked.tokens_wanted or room,
            temperature=1.0 if asked.temperature is None else asked.temperature,
            top_p=asked.top_p or 1.0,
            seed=asked.seed,
            stops=asked.stops,
            stop_ids=served.tokenizer.chat_stop_ids,
            candidates=(asked.top_logprobs or 0) if asked.logprobs else None,
        ),
        prompt_tokens=len(ids),
        streamed=bool(asked.stream),
        wants_usage=asked.wants_usage,
    )


def check_model(served: Served, name: str | None) -> None:
    """The model that is asked for must be the one that is served.

    Raises:
        ApiError: 404.
    """
    if name not in (None, served.name):
        message = f"got the model {name!r}, expected {served.name!r}, the only one here"
        raise ApiError(404, message, param="model", code="model_not_found")


def _values(served: Served, body: bytes) -> dict[str, Any]:
    """The request, none of which is too many."""
    check_items(body, served.context_tokens)
    values = read_json(body)
    check_counts(values, served.context_tokens)
    return values


def _completion_prompt(served: Served, prompt: str | list[int], *, echo: bool) -> Prompt:
    """A prompt, which begins with the boundary unless its ids are given."""
    tokenizer, boundary_tokens = served.tokenizer, 0
    if isinstance(prompt, str):
        _check_text(served, prompt, "prompt")
        prompt = [tokenizer.bos_id, *tokenizer.encode(prompt)]
        boundary_tokens = 1
    _check_ids(served, prompt)
    return (
        echoed(tokenizer, prompt, boundary_tokens=boundary_tokens) if echo else Prompt(prompt, continued=True)
    )


def _check_ids(served: Served, ids: Sequence[int]) -> None:
    if any(token >= served.tokenizer.vocab_size for token in ids):
        message = f"got a token id outside the vocabulary of {served.tokenizer.vocab_size}"
        raise ApiError(400, message, param="prompt", code="invalid_value")


def _check_text(served: Served, text: str, param: str) -> None:
    check_text(text, served.longest_token_bytes, served.context_tokens, param)


def _check_prompt(served: Served, ids: Sequence[int], param: str, *, answered: bool) -> None:
    """The prompt must fit, with room for one token where it is answered."""
    limit = served.context_tokens
    if len(ids) + answered > limit:
        message = f"got {len(ids)} tokens in {param}, expected fewer than the context of {limit}"
        raise ApiError(400, message, param=param, code="context_length_exceeded")


def _room(served: Served, prompt_tokens: int, wanted: int | None, param: str) -> int:
    """Longest answer that fits, which must not be less than what is asked for."""
    room = served.context_tokens - prompt_tokens
    if wanted is not None and wanted > room:
        message = (
            f"got {prompt_tokens} tokens of prompt and {param} {wanted}, expected together at most the "
            f"context of {served.context_tokens}: shorten the prompt or ask for at most {room}"
        )
        raise ApiError(400, message, param=param, code="context_length_exceeded")
    return room
