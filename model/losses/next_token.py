"""The loss of pretraining and instruction tuning: next-token cross-entropy with whatever keeps a training stable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from millrace.model.network.decoder import PLAIN, Decoder, TrainingMode
from millrace.model.network.experts import RouterLosses

from .cross_entropy import LogitTerms, linear_cross_entropy


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
        hidden, router = read_rows(decoder, batch, self.mode)
        terms = LogitTerms(decoder.config.logit_soft_cap, self.z_loss)
        targets = batch["tokens"][:, 1:]
        loss = linear_cross_entropy(hidden, decoder.logit_table(), targets, learnt(batch), terms)
        return self.with_router(loss, router), router

    def with_router(self, loss: jax.Array, router: RouterLosses) -> jax.Array:
        """The loss and the weighted losses of the router, where the model has experts."""
        if router:
            loss += self.router_balance_loss * router["router_balance"]
            loss += self.router_z_loss * router["router_z"]
        return loss


def read_rows(
    decoder: Decoder, batch: Mapping[str, jax.Array], mode: TrainingMode
) -> tuple[jax.Array, RouterLosses]:
    """The final normed states [B, T, D] of a batch's inputs; tokens of packed rows attend within their segment only."""
    mask = None
    if "segments" in batch:
        inside = batch["segments"][:, :-1]
        mask = inside[:, :, None] == inside[:, None, :]
    return decoder.train_hidden(
        batch["tokens"][:, :-1],
        mode,
        positions=batch.get("positions"),
        mask=mask,
        rope_base=batch.get("rope_base"),
    )


def learnt_tokens(batch: Mapping[str, jax.Array]) -> jax.Array:
    """How many targets the loss is a mean over, scalar float32."""
    return jnp.sum(learnt(batch).astype(jnp.float32))


def learnt(batch: Mapping[str, jax.Array]) -> jax.Array:
    """[B, T] bool, which targets count."""
    return batch["learn"][:, 1:] if "learn" in batch else jnp.ones_like(batch["tokens"][:, 1:], bool)
