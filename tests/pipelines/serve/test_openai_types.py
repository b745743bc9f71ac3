"""OpenAI's wire format: the first wrong key of a request is named, neutral ones pass, answers have their shapes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from millrace.pipelines.serve.openai_types import (
    ApiError,
    ChatRequest,
    CompletionRequest,
    error_response,
    read_json,
    usage,
    validate,
)


def parse(kind: type[Any], body: bytes) -> Any:
    return validate(kind, read_json(body))


def refused(kind: type[Any], **values: Any) -> dict[str, Any]:
    with pytest.raises(ApiError) as raised:
        parse(kind, json.dumps(values).encode())
    assert raised.value.status == 400
    error: dict[str, Any] = raised.value.body["error"]
    return error


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [("a", ["a"]), (["a", "b"], ["a", "b"]), ([1, 2], [[1, 2]]), ([[1], [2, 3]], [[1], [2, 3]])],
)
def test_a_prompt_is_a_text_or_ids_or_several(prompt: Any, prompts: list[Any]) -> None:
    assert parse(CompletionRequest, json.dumps({"prompt": prompt}).encode()).prompts == prompts


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"top_k": 5}, "top_k", "unknown_parameter"),
        ({"temperature": 3}, "temperature", "invalid_value"),
        ({"temperature": "hot"}, "temperature", "invalid_value"),
        ({"n": 17}, "n", "invalid_value"),
        ({"n": True}, "n", "invalid_value"),
        ({"stop": [""]}, "stop.0", "invalid_value"),
        ({"stop": ["x"] * 17}, "stop", "invalid_value"),
        ({"presence_penalty": 0.5}, "presence_penalty", "invalid_value"),
        ({"prompt": [-1]}, "prompt.0", "invalid_value"),
        ({"prompt": [1, -1]}, "prompt.1", "invalid_value"),
        ({"best_of": 3, "n": 2}, None, "invalid_value"),
        ({"max_tokens": 0}, None, "invalid_value"),
        ({"prompt": ["a", 1]}, "prompt.1", "invalid_value"),
        ({"prompt": [[1], [2, "a"]]}, "prompt.1.1", "invalid_value"),
        ({"prompt": [[1], []]}, "prompt.1", "invalid_value"),
        ({"prompt": []}, "prompt", "invalid_value"),
        ({"prompt": {}}, "prompt", "invalid_value"),
        ({"suffix": "x"}, "suffix", "invalid_value"),
    ],
)
def test_a_wrong_key_is_named(change: dict[str, Any], param: str | None, code: str) -> None:
    error = refused(CompletionRequest, **{"prompt": "a", **change})
    assert (error["param"], error["code"], error["type"]) == (param, code, "invalid_request_error")


def test_a_missing_key_is_named_and_so_is_one_inside_a_message() -> None:
    assert refused(CompletionRequest)["code"] == "missing_required_parameter"
    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": "b"}]
    with pytest.raises(ApiError) as raised:
        assert parse(
            ChatRequest, json.dumps({"messages": [{"role": "user", "content": parts}]}).encode()
        ).turns
    assert raised.value.body["error"]["param"] == "messages.0.content.1"


@pytest.mark.parametrize("body", [b"{", b"[]", b"3", b"\xff", b"[" * 100_000, b'{"prompt": "\\ud800"}'])
def test_a_body_that_is_no_json_object_of_text_is_refused(body: bytes) -> None:
    with pytest.raises(ApiError, match="got a"):
        parse(CompletionRequest, body)


@pytest.mark.parametrize("penalty", [0, 0.0, None])
def test_neutral_and_harmless_keys_pass(penalty: float | None) -> None:
    values: dict[str, Any] = {
        "prompt": "a",
        "presence_penalty": penalty,
        "logit_bias": {},
        "user": "u",
        "best_of": 2,
        "n": 2,
    }
    asked = parse(CompletionRequest, json.dumps(values).encode())
    assert (asked.choices_wanted, asked.stops, asked.wants_usage) == (2, (), False)


def test_the_newer_and_the_older_form_of_a_chat_are_the_same() -> None:
    parts = [{"type": "text", "text": "a "}, {"type": "text", "text": "b"}]
    old = {"messages": [{"role": "system", "content": "a b"}], "max_tokens": 5, "stop": "x"}
    new = {"messages": [{"role": "developer", "content": parts}], "max_completion_tokens": 5, "stop": ["x"]}
    first, second = (parse(ChatRequest, json.dumps(values).encode()) for values in (old, new))
    assert first.turns[0]["content"] == second.turns[0]["content"] == "a b"
    assert first.tokens_wanted == second.tokens_wanted == 5
    assert first.stops == second.stops == ("x",)
    assert refused(ChatRequest, **old, top_logprobs=2)["message"].startswith("top_logprobs is set")


@pytest.mark.parametrize(
    "values",
    [
        {"prompt": [[None] * 60_000] * 4},
        {"prompt": [None] * 200_000},
        {"prompt": "a", "stop": [1] * 200_000},
    ],
)
def test_the_first_of_many_wrong_items_is_enough(values: dict[str, Any]) -> None:
    """One error and not one of each, though nothing has counted them before."""
    error = refused(CompletionRequest, **values)
    assert error["code"] == "invalid_value"
    assert len(error["message"]) < 300


@pytest.mark.parametrize(
    ("status", "header"), [(401, "www-authenticate"), (429, "retry-after"), (400, "content-type")]
)
def test_an_error_tells_the_client_what_to_do(status: int, header: str) -> None:
    response = error_response(ApiError(status, "no"))
    assert response.status_code == status
    assert header in response.headers
    assert json.loads(bytes(response.body))["error"]["message"] == "no"


def test_usage_adds_up() -> None:
    assert usage(3, 4) == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
