"""Prompts end before the answer, draws do not depend on their company, and rewards are the weighted sum they say."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from millrace.components.contract import Artifact, ComponentError, Inputs
from millrace.components.rlhf import answers
from millrace.data.examples.answer_rules import AnswerRules
from millrace.data.tokenizer.tokenizer import Tokenizer
from millrace.model.judges.reward import Head, RewardModel, raw_scores
from millrace.model.losses.policy import Rollouts
from millrace.model.network.decoder import Decoder
from millrace.model.package import weights


@pytest.fixture(scope="module")
def tokenizer(tiny: SimpleNamespace) -> Tokenizer:
    return Tokenizer.load(tiny.tokenizer)


@pytest.fixture(scope="module")
def decoder(tiny: SimpleNamespace) -> Decoder:
    return weights.load(tiny.model)[1]


def prompt(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.render_chat([{"role": "user", "content": text}], generate=True)[0]


def test_prompts_are_conversations_without_their_last_answers(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """Long ones and those without a question are counted; none at all is an error."""
    user, said = {"role": "user", "content": "path"}, {"role": "assistant", "content": "name"}
    chats = [[user, said], [user, said, user], [user, said, said], [said], [user | {"content": "x" * 200}]]
    lines = "\n\n".join(json.dumps({"messages": messages}) for messages in chats)
    (tmp_path / "train.jsonl").write_text(lines)
    inputs = Inputs({"prompts": Artifact(tmp_path, "", "", "")})
    prompts, skipped = answers.read_prompts(inputs, "train.jsonl", tokenizer, 40)
    whole = tokenizer.render_chat([user, said, user], generate=True)[0]
    assert (prompts, skipped) == ([prompt(tokenizer, "path"), whole, prompt(tokenizer, "path")], 2)
    with pytest.raises(ComponentError, match="5 have more than 3 tokens or no question"):
        answers.read_prompts(inputs, "train.jsonl", tokenizer, 3)


def test_an_answer_does_not_depend_on_its_company(tokenizer: Tokenizer, decoder: Decoder) -> None:
    """A prompt answered in one batch of eight and in four of two gets the same answers."""
    prompts = [prompt(tokenizer, letter * 3) for letter in "abcd"]
    together, apart = (
        answers.Sampler(tokenizer.chat_stop_ids, 16, 8, rows, seed=3).answers(decoder, prompts, 2, 5)
        for rows in (8, 2)
    )
    assert together == apart


def test_rewards_are_standardised_heads_and_weighted_rules(tokenizer: Tokenizer, decoder: Decoder) -> None:
    """Against raw scores of the closed exchanges and the rules' own shares, whether an answer ended or was cut off."""
    model = RewardModel(decoder, 2)
    model.kernel[...] = np.random.default_rng(0).normal(size=model.kernel.shape).astype(np.float32)
    heads = [Head("a", 2.0, 0.5, 4.0), Head("b", 0.5, -1.0, 0.25)]
    rules = AnswerRules("text", 3, 100)
    judge = answers.Judge(tokenizer, model, heads, rules, 3.0, 32)
    end = tokenizer.special["<|end|>"]
    asked = prompt(tokenizer, "path")
    contents = [tokenizer.encode("Return the name."), tokenizer.encode("x")]
    figures = judge.score(Rollouts([asked, asked], [[*contents[0], end], contents[1]]))
    assert set(figures) == set(judge.names)
    raw = raw_scores(model, [[*asked, *content, end] for content in contents]).astype(float)
    for index, head in enumerate(heads):
        wanted = (raw[:, index] - head.mean) / head.deviation
        np.testing.assert_allclose(figures[f"head_{head.name}"], wanted, rtol=1e-4, atol=1e-5)
    shares = [rules.score("Return the name.", ended=True), rules.score("x", ended=False)]
    assert shares[0] > shares[1]
    np.testing.assert_allclose(figures["rule"], shares)
    total = 2.0 * figures["head_a"] + 0.5 * figures["head_b"] + 3.0 * np.asarray(shares)
    np.testing.assert_allclose(figures["reward"], total, rtol=1e-6)
