"""Log probabilities: no two tokens share a name, and bytes join to the text whatever the tokens are."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.data.tokenizer.tokenizer import Tokenizer
from millrace.pipelines.serve.answers import TokenScore
from millrace.pipelines.serve.http.logprobs import chat_logprobs, completion_logprobs

SIZE = 300
SCORES = st.lists(
    st.builds(
        TokenScore,
        token=st.integers(0, SIZE),
        log_prob=st.floats(-9, -1),
        candidates=st.lists(
            st.tuples(st.integers(0, SIZE), st.floats(-9, -1)), max_size=9, unique_by=lambda c: c[0]
        ),
        offset=st.integers(0, 99),
    )
)


@pytest.fixture(scope="module")
def tokenizer(package: Path) -> Tokenizer:
    """Of which the first 300 ids are control tokens, all bytes and some text."""
    return Tokenizer.load(package)


@given(SCORES)
def test_every_candidate_is_there_under_a_name_of_its_own(
    tokenizer: Tokenizer, scores: list[TokenScore]
) -> None:
    """And so is the token itself, with the value that it has."""
    shape = completion_logprobs(tokenizer, scores)
    for score, top in zip(scores, shape["top_logprobs"], strict=True):
        expected = dict(score.candidates) | {score.token: score.log_prob}
        assert top == {tokenizer.token_names[token]: value for token, value in expected.items()}
        assert len(top) == len(expected)
    assert shape["tokens"] == [tokenizer.token_names[score.token] for score in scores]
    assert shape["token_logprobs"] == [score.log_prob for score in scores]
    assert shape["text_offset"] == [score.offset for score in scores]


@given(SCORES)
def test_the_bytes_of_a_chats_tokens_join_to_its_text(tokenizer: Tokenizer, scores: list[TokenScore]) -> None:
    """Never null: also a part of a character has bytes."""
    content = chat_logprobs(tokenizer, scores)["content"]
    for item, score in zip(content, scores, strict=True):
        assert bytes(item["bytes"]) == tokenizer.token_bytes[score.token]
        assert [bytes(top["bytes"]) for top in item["top_logprobs"]] == [
            tokenizer.token_bytes[token] for token, _ in score.candidates
        ]


def test_the_first_token_of_a_prompt_has_no_value(tokenizer: Tokenizer) -> None:
    shape = completion_logprobs(tokenizer, [TokenScore(9, None, (), 0)])
    assert shape["token_logprobs"] == shape["top_logprobs"] == [None]
