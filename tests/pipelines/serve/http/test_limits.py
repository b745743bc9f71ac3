"""Limits on a request, counted before it is validated; and the attacks that this is for, on a real server."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from millrace.pipelines.serve.http.limits import (
    SPARE_ITEMS,
    check_counts,
    check_items,
    check_scored,
    check_text,
)
from millrace.pipelines.serve.openai_types import ApiError

CONTEXT = 128
PATIENCE_SECONDS = 5  # for an answer that takes milliseconds: another test may have the processor


@pytest.mark.parametrize(
    ("values", "param"),
    [
        ({f"k{n}": 1 for n in range(65)}, None),
        ({"messages": [{}] * 64}, "messages"),
        ({"prompt": ["a"] * 17}, "prompt"),
        ({"prompt": [[1]] * 17}, "prompt"),
        ({"prompt": [None] * 17}, "prompt"),
        ({"prompt": [1] * 129}, "prompt"),
        ({"prompt": ["a", [1] * 129]}, "prompt.1"),
        ({"stop": ["a"] * 65}, "stop"),
        ({"logit_bias": {str(n): 0 for n in range(65)}}, "logit_bias"),
        ({"metadata": {str(n): 0 for n in range(65)}}, "metadata"),
    ],
)
def test_too_many_of_anything_are_named(values: dict[str, Any], param: str | None) -> None:
    with pytest.raises(ApiError, match=r"got .*expected") as refused:
        check_counts(values, CONTEXT)
    assert refused.value.body["error"]["param"] == param


@pytest.mark.parametrize(
    "values",
    [
        {"messages": [{}] * 63},
        {"prompt": "a" * 10_000},
        {"prompt": ["a"] * 16},
        {"prompt": [1] * 128},
        {"prompt": [[1] * 128] * 16},
        {"prompt": [], "messages": "x"},
        {"stop": ["a"] * 64},
        {},
    ],
)
def test_as_many_as_may_be_pass(values: dict[str, Any]) -> None:
    check_counts(values, CONTEXT)


@pytest.mark.parametrize(
    ("text", "fits"), [("a" * 515, True), ("a" * 516, False), ("\U0001f30a" * 130, False)]
)
def test_a_text_that_cannot_fit_is_refused_before_it_is_tokenised(text: str, fits: bool) -> None:
    """128 tokens of at most 4 bytes."""
    if fits:
        check_text(text, 4, CONTEXT, "prompt")
    else:
        with pytest.raises(ApiError, match=r"got at least \d+ tokens in prompt"):
            check_text(text, 4, CONTEXT, "prompt")


MANY = CONTEXT + SPARE_ITEMS + 1


@pytest.mark.parametrize("item", ["[]", "{}", '["a\\"[]", []]', '"\\\\", []', '{"a": [1]}'])
def test_lists_and_objects_are_counted_before_a_body_is_parsed(item: str) -> None:
    """Those in strings are none."""
    with pytest.raises(ApiError, match=r"got \d+ lists and objects"):
        check_items(f'{{"prompt": [{",".join([item] * MANY)}]}}'.encode(), CONTEXT)
    check_items(json.dumps({"prompt": item * MANY}).encode(), CONTEXT)


def test_values_are_counted_before_a_body_is_parsed() -> None:
    """Sixteen prompts that fill the context pass, also with commas in a text beside them."""
    values = {"prompt": [[1] * CONTEXT] * 16, "user": "a, b, \\" * 10_000}
    check_items(json.dumps(values).encode(), CONTEXT)
    with pytest.raises(ApiError, match=r"got \d+ values"):
        check_items(json.dumps({"prompt": [1] * (16 * CONTEXT + SPARE_ITEMS + 2)}).encode(), CONTEXT)


@pytest.mark.parametrize("unit", [b'\\"', b'"', b'"\\', b'"a\\"', b"\\", b'[,"'])
def test_counting_takes_no_longer_than_a_body_is_long(unit: bytes) -> None:
    """Strings that do not end, and escapes outside of them: a square of a mebibyte would take hours."""
    body = b"[" * (MANY + 1) + unit * (2**20 // len(unit)) + b"\\"
    with contextlib.suppress(ApiError):
        check_items(body, CONTEXT)


def test_no_more_tokens_are_scored_than_an_answer_should_hold() -> None:
    check_scored(2**17)
    with pytest.raises(ApiError, match="got 131073 tokens of prompts"):
        check_scored(2**17 + 1)


def post(url: str, body: bytes, answers: list[int]) -> None:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            answers.append(response.status)
    except urllib.error.HTTPError as error:
        with error:
            answers.append(error.code)


def items(prefix: str, item: str, count: int, suffix: str) -> Callable[[], bytes]:
    return lambda: (prefix + ",".join([item] * count) + suffix).encode()


ATTACKS = {
    "messages": ("chat/completions", items('{"messages":[', "{}", 346_000, "]}")),
    "named messages": ("chat/completions", items('{"messages":[', '{"role":"user"}', 65_000, "]}")),
    "parts": ("chat/completions", items('{"messages":[{"role":"user","content":[', "{}", 346_000, "]}]}")),
    "nulls": ("completions", items('{"prompt":[', "null", 209_000, "]}")),
    "lists": ("completions", items('{"prompt":[', "[]", 346_000, "]}")),
    "lists of nulls": ("completions", items('{"prompt":[', "[" + "null," * 12_000 + "null]", 16, "]}")),
    "stop strings": ("completions", items('{"prompt":"a","stop":[', "1", 500_000, "]}")),
    "keys": ("completions", lambda: json.dumps({f"k{n}": 0 for n in range(75_000)}).encode()),
    "biases": (
        "completions",
        lambda: json.dumps({"prompt": "a", "logit_bias": {str(n): None for n in range(60_000)}}).encode(),
    ),
    "words": ("completions", lambda: json.dumps({"prompt": "the boat near " * 74_000}).encode()),
    "a word": ("completions", lambda: json.dumps({"prompt": "a" * 1_040_000}).encode()),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_health_answers_while_a_mebibyte_of_items_is_refused(server: Any, attack: str) -> None:
    """Each is told 400, and others are answered meanwhile."""
    route, body = ATTACKS[attack]
    answers: list[int] = []
    attackers = [
        threading.Thread(target=post, args=(f"{server.url}/v1/{route}", body(), answers)) for _ in range(3)
    ]
    for attacker in attackers:
        attacker.start()
    while True:
        over = not any(attacker.is_alive() for attacker in attackers)
        started = time.monotonic()
        with urllib.request.urlopen(f"{server.url}/health", timeout=PATIENCE_SECONDS) as response:
            assert response.status == 200
        assert time.monotonic() - started < PATIENCE_SECONDS
        if over:
            break
        time.sleep(0.01)
    assert answers == [400, 400, 400]
