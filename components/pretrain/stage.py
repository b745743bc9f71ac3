"""``pretrain``: a decoder trained from scratch on token streams, in phases with their own mixture.

It is ``training.run`` with the loss on the tokens themselves; ``distill`` adds the loss against a teacher.
"""

from __future__ import annotations

from millrace.components.contract import Context, Inputs
from millrace.components.training.config import PretrainConfig
from millrace.components.training.mixture.reading import open_reading
from millrace.components.training.run import (
    Recipe,
    Task,
    Trained,
    next_token_loss,
    read_training_batch,
    train_on,
    write,
)


def train(
    context: Context,
    config: PretrainConfig,
    inputs: Inputs,
    until_steps: int | None = None,
    recipe: Recipe | None = None,
) -> Trained:
    """Trains from the newest checkpoint of the work folder, or afresh.

    Args:
        context: Takes metrics and has the work folder and the seed.
        config: The settings.
        inputs: Tokens, their tokenizer and, optionally, held-out text and proposed weights.
        until_steps: Ends after this many steps, as a replay does.
        recipe: How steps are made, if another training of the same configuration, but for the weights, made it.

    Raises:
        ComponentError: Inputs do not fit, a step is not finite, or a signal asked it to end.
    """
    config, reading = open_reading("pretrain", context.seed, config, inputs)
    shape = config.model_shape(reading.streams.vocab_size)
    task = Task(
        "pretrain",
        next_token_loss(config),
        lambda step, rows: read_training_batch(config, reading, step, rows),
        shape.flops_per_token,
    )
    return train_on(task, context, config, reading, inputs, until_steps, recipe)


def run(context: Context, config: PretrainConfig, inputs: Inputs) -> None:
    """Trains, measures, and writes the model and its report."""
    trained = train(context, config, inputs)
    if context.host:
        return  # host 0 writes what all of them trained
    write(context, trained)
