"""How many of everything a request may hold, counted before anything looks at the items.

Validation makes an error of every wrong item, some microseconds and a few hundred bytes each, so a body of one mebibyte
can hold the interpreter for seconds: 346,000 empty messages did for 7. Parsing alone takes a tenth of a second where
there are hundreds of thousands of lists, so the body's brackets and commas are counted first. Most limits follow from the
model's context: what could not fit however short its parts are need not be read.
"""

from __future__ import annotations

import re
from typing import Any

from millrace.pipelines.serve.openai_types import MOST_CHOICES, ApiError

MOST_ENTRIES = 64  # of any other list or object, and of the request's own keys
MOST_SCORED_TOKENS = (
    2**17
)  # of all prompts that a request has scored: their values are hundreds of bytes each
MESSAGE_TOKENS = 2  # of an empty message: its role and its end
SPARE_ITEMS = 4096  # beside messages and prompts
# A string that does not end goes to the body's end: every match succeeds, so that the time is linear.
JSON_STRING = re.compile(rb'"(?:[^"\\]++|\\.?)*+(?:"|\Z)', re.DOTALL)
OWN_LIMITS = ("messages", "prompt")


def check_items(body: bytes, context_tokens: int) -> None:
    """Refuses a body of too many lists, objects or values, before it is parsed.

    Args:
        body: The request.
        context_tokens: Longest prompt and answer together.

    Raises:
        ApiError: 400.
    """
    most_lists = context_tokens + SPARE_ITEMS
    most_values = MOST_CHOICES * context_tokens + SPARE_ITEMS
    if _lists(body) <= most_lists and body.count(b",") <= most_values:
        return
    body = JSON_STRING.sub(b"", body)  # a text may hold as many brackets and commas as it likes
    if (lists := _lists(body)) > most_lists:
        raise _too_many(lists, "lists and objects", most_lists, None)
    if (values := body.count(b",")) > most_values:
        raise _too_many(values, "values", most_values, None)


def _lists(body: bytes) -> int:
    return body.count(b"[") + body.count(b"{")


def check_counts(values: dict[str, Any], context_tokens: int) -> None:
    """Refuses a request that holds too many keys, messages, prompts, ids or entries of any other list.

    Args:
        values: The request, out of JSON.
        context_tokens: Longest prompt and answer together.

    Raises:
        ApiError: 400, naming what is too many.
    """
    if len(values) > MOST_ENTRIES:
        raise _too_many(len(values), "keys", MOST_ENTRIES, None)
    for key, value in values.items():
        if isinstance(value, list | dict) and key not in OWN_LIMITS and len(value) > MOST_ENTRIES:
            raise _too_many(len(value), f"entries in {key}", MOST_ENTRIES, key)
    messages, prompt = values.get("messages"), values.get("prompt")
    if isinstance(messages, list) and len(messages) * MESSAGE_TOKENS >= context_tokens:
        got = f"{len(messages)} messages of at least {MESSAGE_TOKENS} tokens each"
        raise _context(got, context_tokens, "messages")
    if not isinstance(prompt, list) or not prompt:
        return
    if isinstance(prompt[0], int):
        _check_ids(prompt, context_tokens, "prompt")
        return
    if len(prompt) > MOST_CHOICES:
        raise _too_many(len(prompt), "prompts", MOST_CHOICES, "prompt")
    for place, one in enumerate(prompt):
        if isinstance(one, list):
            _check_ids(one, context_tokens, f"prompt.{place}")


def check_text(text: str, longest_token_bytes: int, context_tokens: int, param: str) -> None:
    """Refuses a text that cannot fit, before it is tokenised.

    Args:
        text: The text.
        longest_token_bytes: The most that one token stands for.
        context_tokens: Longest prompt and answer together.
        param: The request's key that holds it.

    Raises:
        ApiError: 400.
    """
    least_tokens = len(text.encode()) // longest_token_bytes
    if least_tokens > context_tokens:
        raise _context(f"at least {least_tokens} tokens in {param}", context_tokens, param)


def check_scored(tokens: int) -> None:
    """Refuses to score more tokens of prompts than an answer should hold.

    Args:
        tokens: Of all answers, each with its prompt.

    Raises:
        ApiError: 400.
    """
    if tokens > MOST_SCORED_TOKENS:
        raise _too_many(
            tokens, "tokens of prompts to score, those of each choice counted", MOST_SCORED_TOKENS, "echo"
        )


def _check_ids(ids: list[Any], context_tokens: int, param: str) -> None:
    if len(ids) > context_tokens:
        raise _context(f"{len(ids)} tokens in {param}", context_tokens, param)


def _context(got: str, context_tokens: int, param: str) -> ApiError:
    message = f"got {got}, expected fewer tokens than the context of {context_tokens}"
    return ApiError(400, message, param=param, code="context_length_exceeded")


def _too_many(count: int, what: str, most: int, param: str | None) -> ApiError:
    message = f"got {count} {what}, expected at most {most}"
    return ApiError(400, message, param=param, code="invalid_value")
