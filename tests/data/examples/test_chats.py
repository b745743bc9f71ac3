"""Files to train on and the server accept the same messages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from millrace.data.examples import user_examples
from millrace.data.examples.chats import ROLES, NoChat, read_messages
from millrace.data.sources.records import SourceError
from millrace.data.tokenizer import tokenizer as tokenizers
from millrace.pipelines.serve.openai_types import ApiError, ChatRequest, read_json, validate

PARTS = [{"type": "text", "text": "a "}, {"type": "text", "text": "b"}]
ANSWER = {"role": "assistant", "content": "Yes."}

GOOD: list[tuple[dict[str, Any], dict[str, str]]] = [
    *(({"role": role, "content": "x"}, {"role": role, "content": "x"}) for role in ROLES),
    ({"role": "user", "content": PARTS}, {"role": "user", "content": "a b"}),
    ({"role": "user", "content": []}, {"role": "user", "content": ""}),
    ({"role": "system", "content": ""}, {"role": "system", "content": ""}),
    ({"role": "system", "content": " \n"}, {"role": "system", "content": " \n"}),
    ({"role": "assistant", "content": None}, {"role": "assistant", "content": ""}),
    ({"role": "user"}, {"role": "user", "content": ""}),
    ({"role": "tool", "content": "3", "tool_call_id": "c1"}, {"role": "tool", "content": "3"}),
    ({"role": "user", "content": "x", "name": "Ann", "id": 3}, {"role": "user", "content": "x"}),
    (
        {"role": "assistant", "content": "x", "tool_calls": [], "refusal": None, "audio": None},
        {"role": "assistant", "content": "x"},
    ),
]

BAD: list[tuple[Any, tuple[str | int, ...], str]] = [
    ({"content": "x"}, (0, "role"), "missing"),
    ({"role": "bot", "content": "x"}, (0, "role"), "value"),
    ({"role": ["user"], "content": "x"}, (0, "role"), "value"),
    ({"role": "user", "content": 1}, (0, "content"), "value"),
    ({"role": "user", "content": {"text": "x"}}, (0, "content"), "value"),
    ({"role": "user", "content": [PARTS[0], "x"]}, (0, "content", 1), "value"),
    ({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, (0, "content", 0), "value"),
    ({"role": "user", "content": [{"type": "text", "text": None}]}, (0, "content", 0), "value"),
    ({"role": "user", "content": "x", "weight": 0}, (0, "weight"), "unknown"),
    ({"role": "assistant", "tool_calls": [{"id": "c1"}]}, (0, "tool_calls"), "value"),
    ("hello", (0,), "value"),
    (None, (0,), "value"),
]


def test_every_role_of_a_chat_can_be_written_in_tokens() -> None:
    assert set(ROLES) == {*tokenizers.ROLES, *tokenizers.SPEAKS_AS}


def lines(folder: Path, *messages: Any) -> str:
    (folder / "chats.jsonl").write_text(json.dumps({"messages": messages}))
    return str(folder / "chats.jsonl")


@pytest.mark.parametrize(("message", "expected"), GOOD)
def test_the_server_and_a_training_file_take_the_same_messages(
    tmp_path: Path, message: dict[str, Any], expected: dict[str, str]
) -> None:
    """A message before an answer, read by both."""
    chat = [message, ANSWER]
    assert read_messages(chat) == [expected, ANSWER]
    assert user_examples.read_chats(lines(tmp_path, *chat))[0]["messages"] == [expected, ANSWER]
    asked = validate(ChatRequest, read_json(json.dumps({"messages": chat}).encode()))
    assert asked.turns == [expected, ANSWER]


@pytest.mark.parametrize(("message", "keys", "kind"), BAD)
def test_the_server_and_a_training_file_refuse_the_same_messages(
    tmp_path: Path, message: Any, keys: tuple[str | int, ...], kind: str
) -> None:
    """Both say where."""
    chat = [message, ANSWER]
    with pytest.raises(NoChat) as problem:
        read_messages(chat)
    assert (problem.value.keys, problem.value.kind) == (keys, kind)
    with pytest.raises(SourceError, match=r"chats\.jsonl:1: message 0: got"):
        user_examples.read_chats(lines(tmp_path, *chat))
    asked = validate(ChatRequest, read_json(json.dumps({"messages": chat}).encode()))
    with pytest.raises(ApiError) as refused:
        assert asked.turns
    assert refused.value.body["error"]["param"] == ".".join(["messages", *map(str, keys)])


@pytest.mark.parametrize("messages", [None, [], {}, "x", 3])
def test_a_chat_is_a_list_of_messages(messages: Any) -> None:
    with pytest.raises(NoChat, match="got no messages"):
        read_messages(messages)


def test_a_problem_is_short_however_large_the_value() -> None:
    for value in ("x" * 10**6, [1] * 10**6, {str(n): n for n in range(10**4)}, 10**4000):
        with pytest.raises(NoChat) as problem:
            read_messages([{"role": value}])
        assert len(str(problem.value)) < 200
