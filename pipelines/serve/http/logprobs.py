"""Log probabilities in OpenAI's two shapes, a token told by its name and its bytes and never by its text alone.

Many tokens share a text: all control tokens have none, and all parts of a character show as U+FFFD. In an object with the
texts as keys the last one would take the place of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from millrace.data.tokenizer.tokenizer import Tokenizer
from millrace.pipelines.serve.answers import TokenScore


def chat_logprobs(tokenizer: Tokenizer, scores: Sequence[TokenScore]) -> dict[str, Any]:
    """Chat's shape."""

    def shape(token: int, log_prob: float | None) -> dict[str, Any]:
        return {
            "token": tokenizer.token_names[token],
            "logprob": log_prob,
            "bytes": list(tokenizer.token_bytes[token]),
        }

    content = [
        {
            **shape(score.token, score.log_prob),
            "top_logprobs": [shape(*candidate) for candidate in score.candidates],
        }
        for score in scores
    ]
    return {"content": content, "refusal": None}


def completion_logprobs(tokenizer: Tokenizer, scores: Sequence[TokenScore]) -> dict[str, Any]:
    """Completions' shape; ``top_logprobs`` holds the token itself too, also where it is not among the likeliest."""
    names = tokenizer.token_names

    def likeliest(score: TokenScore) -> dict[str, float] | None:
        if score.log_prob is None:
            return None
        return {names[token]: log_prob for token, log_prob in score.candidates} | {
            names[score.token]: score.log_prob
        }

    return {
        "tokens": [names[score.token] for score in scores],
        "token_logprobs": [score.log_prob for score in scores],
        "top_logprobs": [likeliest(score) for score in scores],
        "text_offset": [score.offset for score in scores],
    }
