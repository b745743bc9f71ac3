"""Answers of a policy: choice of prompts, sampling, reward.

All batches of a stage have one shape, so sampling, scoring and comparing compile once each, which on a small model
costs more than the work itself. A draw depends on the seed, its stream, the row's number and the policy, never on what
else is in the batch, so several hosts draw and judge each a share of a batch, and then exchange answers and rewards:
all of them learn from the same ones, bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from millrace.components.artifacts import read_rows
from millrace.components.contract import ComponentError, Inputs
from millrace.data.examples.answer_rules import RULES, AnswerRules
from millrace.data.tokenizer.tokenizer import Tokenizer
from millrace.model.answers.generate import generate
from millrace.model.answers.padding import pad_rows
from millrace.model.devices import hosts
from millrace.model.judges.reward import Head, RewardModel, combine, raw_scores
from millrace.model.losses import policy as policy_loss
from millrace.model.losses.policy import Rollouts
from millrace.model.network.decoder import Decoder


def read_prompts(
    inputs: Inputs, file: str, tokenizer: Tokenizer, limit_tokens: int
) -> tuple[list[list[int]], int]:
    """The conversations up to their last answer, ready to be answered, and how many were too long.

    Raises:
        ComponentError: None is left.
    """
    path = inputs.one("prompts").path / file
    prompts, skipped = [], 0
    for _, row in read_rows("rlhf", path):
        messages = row["messages"]
        while messages and messages[-1]["role"] == "assistant":
            messages = messages[:-1]
        tokens = tokenizer.render_chat(messages, generate=True)[0]
        if messages and len(tokens) <= limit_tokens:
            prompts.append(tokens)
        else:
            skipped += 1
    if not prompts:
        raise ComponentError(
            f"rlhf: got no usable prompt from {file} ({skipped} have more than {limit_tokens} tokens or no question); "
            "give prompts, or set a larger max_prompt_tokens"
        )
    return prompts, skipped


@dataclass(frozen=True)
class Sampler:
    """Draws answers at temperature 1, which is the distribution that is trained.

    Attributes:
        stop_ids: Tokens that end an answer.
        prompt_tokens: Longest prompt, to which all are padded.
        answer_tokens: Longest answer.
        batch_rows: How many answers are drawn at once, by all hosts together.
        seed: The stage's seed.
    """

    stop_ids: tuple[int, ...]
    prompt_tokens: int
    answer_tokens: int
    batch_rows: int
    seed: int

    def answers(self, policy: Decoder, prompts: Sequence[list[int]], samples: int, stream: int) -> Rollouts:
        """Answers to prompts.

        Args:
            policy: The model.
            prompts: P prompts.
            samples: K answers to each.
            stream: Number of the draw; another number gives other answers.

        Returns:
            P * K rows, those of one prompt together; on all hosts the same.
        """
        rows = [prompt for prompt in prompts for _ in range(samples)]
        seed = int(np.random.SeedSequence([self.seed, stream]).generate_state(1)[0])

        def draw(start: int, own: Sequence[int]) -> dict[str, np.ndarray]:
            numbers = [start + row for row in own]
            drawn = generate(
                policy,
                [rows[min(number, len(rows) - 1)] for number in numbers],  # the last batch is filled up
                max_new_tokens=self.answer_tokens,
                temperature=1.0,
                seed=seed,
                stop_ids=self.stop_ids,
                sample_ids=numbers,
                batch_tokens=2 * len(numbers) * policy.config.max_sequence_tokens,
                width_tokens=self.prompt_tokens,
            ).tokens
            lengths = np.asarray([len(answer) for answer in drawn], np.int32)
            return {"tokens": pad_rows(drawn, len(drawn), self.answer_tokens), "lengths": lengths}

        answers: list[list[int]] = []
        for start in range(0, len(rows), self.batch_rows):
            found = hosts.divided(self.batch_rows, partial(draw, start))
            answers += [
                tokens[:length].tolist()
                for tokens, length in zip(found["tokens"], found["lengths"], strict=True)
            ]
        return Rollouts(rows, answers[: len(rows)])


@dataclass(frozen=True)
class Judge:
    """The parts of an answer's reward.

    Attributes:
        tokenizer: The policy's and the reward model's tokenizer.
        model: The reward model.
        heads: How its scores are combined.
        rules: The rules that answers must keep.
        rule_weight: Say of the rules.
        width_tokens: Longest exchange, to which all are padded.
    """

    tokenizer: Tokenizer
    model: RewardModel
    heads: Sequence[Head]
    rules: AnswerRules
    rule_weight: float
    width_tokens: int

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the figures of ``score``."""
        heads = (f"head_{head.name}" for head in self.heads)
        return ("reward", *heads, "rule", *(f"rule_{name}" for name in RULES[self.rules.form]))

    def content(self, answer: Sequence[int]) -> tuple[list[int], bool]:
        """An answer without its stop token, and whether it had one."""
        ended = bool(answer) and answer[-1] in self.tokenizer.chat_stop_ids
        return list(answer[:-1] if ended else answer), ended

    def score(self, rollouts: Rollouts) -> dict[str, np.ndarray]:
        """Every figure in ``names``, float64 [B] each: heads in standard deviations, rules as shares.

        An answer that was cut off is closed for the reward model, as in its training.
        """
        end = self.tokenizer.special["<|end|>"]
        contents = [self.content(answer) for answer in rollouts.answers]
        exchanges = [
            [*prompt, *content, end] for prompt, (content, _) in zip(rollouts.prompts, contents, strict=True)
        ]
        rows = 1 << (len(exchanges) - 1).bit_length()
        raw = raw_scores(
            self.model, exchanges, batch_tokens=rows * self.width_tokens, width_tokens=self.width_tokens
        )
        texts = [(self.tokenizer.decode_cut(content), ended) for content, ended in contents]
        verdicts = [self.rules.check(*text) for text in texts]
        figures = {"rule": np.asarray([self.rules.score(*text) for text in texts])}
        figures["reward"] = combine(self.heads, raw) + self.rule_weight * figures["rule"]
        for index, head in enumerate(self.heads):
            figures[f"head_{head.name}"] = (raw[:, index].astype(np.float64) - head.mean) / head.deviation
        for name in verdicts[0]:
            figures[f"rule_{name}"] = np.asarray([float(verdict[name]) for verdict in verdicts])
        return figures


@dataclass(frozen=True)
class Measured:
    """Answers to the held-out prompts and their rewards.

    Attributes:
        prompts: Prompts as text, one per answer.
        texts: The answers.
        figures: Name -> float64 [P, K].
    """

    prompts: list[str]
    texts: list[str]
    figures: dict[str, np.ndarray]


def measure(
    policy: Decoder,
    reference: Decoder,
    prompts: Sequence[list[int]],
    samples: int,
    sampler: Sampler,
    judge: Judge,
) -> Measured:
    """Answers held-out prompts with the draws of stream 1, which are the same before and after a training."""
    rollouts = sampler.answers(policy, prompts, samples, 1)

    def judged(start: int, own: Sequence[int]) -> dict[str, np.ndarray]:
        last = len(rollouts.prompts) - 1
        part = rollouts.take([min(start + row, last) for row in own])  # the last batch is filled up
        batch = part.arrays(sampler.prompt_tokens, sampler.answer_tokens)
        return {**policy_loss.figures(policy, reference, batch), **judge.score(part)}

    parts = [
        hosts.divided(sampler.batch_rows, partial(judged, start))
        for start in range(0, len(rollouts.prompts), sampler.batch_rows)
    ]
    figures = {
        name: np.concatenate([part[name] for part in parts])[: len(rollouts.prompts)].reshape(
            len(prompts), -1
        )
        for name in parts[0]
    }
    return Measured(
        [judge.tokenizer.decode(prompt) for prompt in rollouts.prompts],
        [judge.tokenizer.decode_cut(judge.content(answer)[0]) for answer in rollouts.answers],
        figures,
    )
