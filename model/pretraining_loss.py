"""The loss of pretraining and instruction tuning: next-token cross-entropy with whatever keeps a training stable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from .loss import LogitTerms, linear_cross_entropy
from .network import PLAIN, Decoder, TrainingMode


@dataclass(frozen=True)
class NextTokenLoss:
    """The loss of ``fit`` for language modelling, called as ``loss(decoder, batch)``.

    Attributes:
        mode: Recomputation and capacity of experts.
        z_loss: Weight of the squared log-normaliser of the logits.
        router_balance_loss: Weight of the router's balance loss, where the model has experts.
        router_z_loss: Weight of the squared log-normaliser of the router's logits.
    """

    mode: TrainingMode = PLAIN
    z_loss: float = 0.0
    router_balance_loss: float = 0.0
    router_z_loss: float = 0.0

    def __call__(
        self, decoder: Decoder, batch: Mapping[str, jax.Array]
    ) -> tuple[jax.Array, Mapping[str, jax.Array]]:
        """Measures a batch.

        Args:
            decoder: The model.
            batch: ``tokens`` [B, T+1] int32, inputs and their targets one further on. Packed rows add ``segments``
                [B, T+1] int32 (a token sees its own segment only), ``positions`` [B, T] int32 (restarting with each
                segment), and ``learn`` [B, T+1] bool, the tokens to be learnt; without it, all but the first are.
                ``rope_base`` [B] float32 replaces the configuration's.

        Returns:
            Nats per learnt token with all weighted terms, and the router's losses unweighted.
        """
        tokens = batch["tokens"]
        mask = None
        if "segments" in batch:
            inside = batch["segments"][:, :-1]
            mask = inside[:, :, None] == inside[:, None, :]
        hidden, router = decoder.train_hidden(
            tokens[:, :-1],
            self.mode,
            positions=batch.get("positions"),
            mask=mask,
            rope_base=batch.get("rope_base"),
        )
        terms = LogitTerms(decoder.config.logit_soft_cap, self.z_loss)
        loss = linear_cross_entropy(hidden, decoder.logit_table(), tokens[:, 1:], _learnt(batch), terms)
        if router:
            loss += self.router_balance_loss * router["router_balance"]
            loss += self.router_z_loss * router["router_z"]
        return loss, router


def learnt_tokens(batch: Mapping[str, jax.Array]) -> jax.Array:
    """How many targets the loss is a mean over, scalar float32."""
    return jnp.sum(_learnt(batch).astype(jnp.float32))


def _learnt(batch: Mapping[str, jax.Array]) -> jax.Array:
    """[B, T] bool, which targets count."""
    return batch["learn"][:, 1:] if "learn" in batch else jnp.ones_like(batch["tokens"][:, 1:], bool)
