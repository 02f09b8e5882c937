"""The loss: negative log-likelihood of each next token, within its own story."""

import jax
import jax.numpy as jnp
import optax

from tinyjax.config import ModelConfig
from tinyjax.model.decoder import Decoder

# "inputs", "targets", "segments" (0 is padding) and "weights" (1 where the target counts): int32 [B, T] each
Batch = dict[str, jax.Array]


def token_nll(model: ModelConfig, params: dict, batch: Batch) -> jax.Array:
    """Returns each target's negative log-likelihood in nats, 0 where it doesn't count: float32 [B, T]."""
    logits_BTV, _ = Decoder(model).apply({"params": params}, batch["inputs"], batch["segments"])
    nll_BT = optax.softmax_cross_entropy_with_integer_labels(logits_BTV, batch["targets"])
    return jnp.where(batch["weights"] > 0, nll_BT, 0.0)


def mean_loss(params: dict, model: ModelConfig, batch: Batch) -> tuple[jax.Array, jax.Array]:
    """Returns the mean over the tokens that count, in nats, and their number."""
    tokens = jnp.sum(batch["weights"])
    return token_nll(model, params, batch).sum() / jnp.maximum(tokens, 1), tokens
