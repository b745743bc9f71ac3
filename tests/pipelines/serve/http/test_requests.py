"""From bodies to prompts and options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from millrace.pipelines.serve.http.requests import Asked, check_model, read_chat, read_completion
from millrace.pipelines.serve.openai_types import COMPLETION_DEFAULT_TOKENS, ApiError
from millrace.pipelines.serve.served import Served, load


@pytest.fixture(scope="module")
def served(package: Path) -> Served:
    return load(package, rows=1, warm_up=False)


def completion(served: Served, **values: Any) -> Asked:
    return read_completion(served, json.dumps({"prompt": "a", **values}).encode())


def chat(served: Served, *messages: dict[str, Any], **values: Any) -> Asked:
    return read_chat(served, json.dumps({"messages": messages, **values}).encode())


def test_a_text_begins_with_the_boundary_and_ids_are_taken_as_they_are(served: Served) -> None:
    text = completion(served, prompt="def encode").prompts[0]
    assert text.ids == [served.tokenizer.bos_id, *served.tokenizer.encode("def encode")]
    assert completion(served, prompt=[5, 6]).prompts[0].ids == [5, 6]
    assert text.continued
    assert text.echo == ""


def test_choices_of_a_prompt_stand_together_and_count_once(served: Served) -> None:
    asked = completion(served, prompt=[[5], [6, 7]], n=2)
    assert [prompt.ids for prompt in asked.prompts] == [[5], [5], [6, 7], [6, 7]]
    assert asked.prompt_tokens == 3


def test_an_echo_has_its_text_and_offsets_without_the_boundary(served: Served) -> None:
    prompt = completion(served, prompt="def encode", echo=True, max_tokens=0).prompts[0]
    assert prompt.echo == "def encode"
    assert len(prompt.offsets) == len(prompt.ids) - 1
    assert prompt.offsets[0] == 0
    assert len(completion(served, prompt=[5, 6], echo=True).prompts[0].offsets) == 2


@pytest.mark.parametrize(
    ("values", "expected"),
    [({}, COMPLETION_DEFAULT_TOKENS), ({"max_tokens": 3}, 3), ({"max_tokens": 0, "echo": True}, 0)],
)
def test_the_length_of_a_completion(served: Served, values: dict[str, Any], expected: int) -> None:
    assert completion(served, **values).options.max_tokens == expected


def test_a_chat_takes_all_that_fits(served: Served) -> None:
    asked = chat(served, {"role": "user", "content": "a"})
    assert asked.options.max_tokens == served.context_tokens - len(asked.prompts[0].ids)
    assert chat(served, {"role": "user"}, max_completion_tokens=3, max_tokens=4).options.max_tokens == 3


@pytest.mark.parametrize(("role", "token"), [("developer", "<|system|>"), ("tool", "<|user|>")])
def test_a_role_without_a_token_of_its_own_speaks_as_another(served: Served, role: str, token: str) -> None:
    ids = chat(served, {"role": role, "content": [{"type": "text", "text": "a"}]}).prompts[0].ids
    assert ids[1] == served.tokenizer.special[token]


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"prompt": [5] * 128}, "context_length_exceeded"),
        ({"prompt": [5] * 100, "max_tokens": 29}, "context_length_exceeded"),
        ({"prompt": "x y" * 60_000}, "context_length_exceeded"),
        ({"prompt": [1_000_000]}, "invalid_value"),
        ({"model": "other"}, "model_not_found"),
    ],
)
def test_what_cannot_be_asked_of_this_model_is_refused(
    served: Served, values: dict[str, Any], code: str
) -> None:
    with pytest.raises(ApiError) as refused:
        completion(served, **values)
    assert refused.value.body["error"]["code"] == code


def test_the_model_is_the_one_that_is_served(served: Served) -> None:
    check_model(served, None)
    check_model(served, "tiny")
    with pytest.raises(ApiError, match="expected 'tiny'"):
        check_model(served, "gpt")
