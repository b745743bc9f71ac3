"""A user's examples: what is read, and how every mistake is named with its file and line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from millrace.data.examples import user_examples
from millrace.data.sources.records import SourceError

CHOICE = {"id": 1, "prompt": "2 + 2 =", "choices": ["3", "4"], "answer": 1}
CHAT = {"messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi."}]}
PREFERENCE = {"prompt": "Hello", "chosen": "Hi.", "rejected": "No."}


def write(path: Path, *rows: object) -> str:
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return str(path)


def test_questions_of_both_forms_are_read_without_other_keys(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", CHOICE | {"topic": "sums"})
    assert user_examples.read_questions(path) == [{**CHOICE, "id": "1"}]
    path = write(tmp_path / "b.jsonl", {"id": "x", "prompt": "2 + 2 =", "answer": "4"})
    assert user_examples.read_questions(path)[0]["answer"] == "4"


def test_chats_and_preferences_get_ids_and_heads_and_may_be_compressed(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(json.dumps(CHAT).encode() + b"\n\n"))
    (chat,) = user_examples.read_chats(str(tmp_path / "*.gz"))
    assert chat["messages"] == CHAT["messages"]
    assert chat["id"].endswith("a.jsonl.gz:1")
    path = write(tmp_path / "b.jsonl", PREFERENCE | {"id": 7}, PREFERENCE | {"head": "safety"})
    one, two = user_examples.read_preferences(path)
    assert (one["id"], one["head"], two["head"]) == ("7", "preference", "safety")


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ([1], "got a JSON list, expected an object"),
        ({"prompt": "x", "answer": "y"}, "got no id"),
        ({"id": 1, "prompt": " ", "answer": "y"}, "got no text under prompt"),
        ({"id": 1, "prompt": "x", "answer": 3}, "got no text under answer"),
        (CHOICE | {"choices": ["a"]}, "got choices that are not"),
        (CHOICE | {"answer": 2}, "got answer 2, expected the index of the right one of 2 choices"),
        (CHOICE | {"answer": True}, "got answer True"),
        (CHOICE | {"prompt": "\ud800"}, "got no JSON in UTF-8"),
    ],
)
def test_a_bad_question_is_named_with_file_and_line(tmp_path: Path, row: object, problem: str) -> None:
    path = write(tmp_path / "a.jsonl", CHOICE | {"id": 0}, row)
    with pytest.raises(SourceError) as error:
        user_examples.read_questions(path)
    assert str(error.value).startswith(f"{path}:2: {problem}")


def test_ids_that_repeat_and_mixed_forms_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="got id '1' again"):
        user_examples.read_questions(write(tmp_path / "a.jsonl", CHOICE, CHOICE))
    with pytest.raises(SourceError, match="with and without choices"):
        user_examples.read_questions(
            write(tmp_path / "a.jsonl", CHOICE, {"id": 2, "prompt": "x", "answer": "y"})
        )


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"messages": []}, "got no messages"),
        ({"messages": [{"role": "bot", "content": "x"}]}, "message 0: got no role of"),
        ({"messages": [{"role": "user", "content": "x"}]}, "got a last message by user"),
        ({"messages": [{"role": "user", "content": 1}]}, "message 0: got no text under content"),
    ],
)
def test_a_bad_chat_is_named(tmp_path: Path, row: object, problem: str) -> None:
    with pytest.raises(SourceError, match=problem):
        user_examples.read_chats(write(tmp_path / "a.jsonl", row))


def test_a_preference_between_equal_texts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="expected them to differ"):
        user_examples.read_preferences(write(tmp_path / "a.jsonl", PREFERENCE | {"rejected": "Hi."}))


def test_all_problems_are_told_at_once_up_to_five(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="and 2 more") as error:
        user_examples.read_chats(write(tmp_path / "a.jsonl", *[{}] * 7))
    assert len(str(error.value).split("\n")) == 6


def test_no_file_no_lines_and_another_format_are_named(tmp_path: Path) -> None:
    for path, problem in (
        (tmp_path / "no.jsonl", "matches no file"),
        (tmp_path / "a.txt", "expected JSON Lines"),
    ):
        (tmp_path / "a.txt").write_text("x")
        with pytest.raises(SourceError, match=problem):
            user_examples.read_chats(str(path))
    (tmp_path / "a.jsonl").write_text("\n")
    with pytest.raises(SourceError, match="got no lines"):
        user_examples.read_chats(str(tmp_path / "a.jsonl"))
