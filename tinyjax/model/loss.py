"""The loss: negative log-likelihood of each next token, within its own story.

A small model's logits [B, T, V] are far larger than all else in its step. In chunks, they are made for some
positions at a time, with their gradients at once, so that nothing is kept or computed twice.
Axes: B batch, T positions, D d_model, V vocabulary; N chunks of C positions; R batch shards of Q rows.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from optax import softmax_cross_entropy_with_integer_labels as cross_entropy

from tinyjax.config import ModelConfig
from tinyjax.model.decoder import hidden_states, logits
from tinyjax.parallel.sharding import RULES, constrain

# "inputs", "targets", "segments" (0 is padding) and "weights" (1 where the target counts): int32 [B, T] each
Batch = dict[str, jax.Array]


class Sums(NamedTuple):
    """Sums over the tokens that count, in float32."""

    objective: jax.Array  # what is minimised: nll, and the z-loss
    nll: jax.Array  # negative log-likelihood in nats


def token_nll(model: ModelConfig, params: dict, batch: Batch, chunk: int = 0) -> jax.Array:
    """Returns each target's negative log-likelihood in nats, 0 where it doesn't count: float32 [B, T].

    Logits are made for about `chunk` positions at a time; 0: for all. Its gradients, unlike those of
    `summed_loss`, keep them all.
    """
    hidden_BTD = hidden_states(model, params, batch["inputs"], batch["segments"])
    if not chunk:
        nll_BT = cross_entropy(logits(model, params, hidden_BTD), batch["targets"])
    else:
        cut = functools.partial(_cut, parts=count_chunks(hidden_BTD.shape[1], chunk))
        head_VD = _whole_rows(_head(model, params), hidden_BTD.dtype)
        parts = (cut(hidden_BTD), cut(batch["targets"]))
        nll_BT = _join(jax.lax.map(lambda part: cross_entropy(_logits(head_VD, part[0]), part[1]), parts))
    return jnp.where(batch["weights"] > 0, nll_BT, 0.0)


def mean_loss(params: dict, model: ModelConfig, batch: Batch) -> tuple[jax.Array, jax.Array]:
    """Returns the mean over the tokens that count, in nats, and their number."""
    tokens = jnp.sum(batch["weights"])
    return token_nll(model, params, batch).sum() / jnp.maximum(tokens, 1), tokens


def summed_loss(
    params: dict,
    model: ModelConfig,
    batch: Batch,
    *,
    chunk: int = 0,
    z_loss: float = 0.0,
    dropout_key: jax.Array | None = None,
) -> Sums:
    """Returns the loss summed over the tokens that count.

    Args:
      params: of the model.
      model: its config.
      batch: windows.
      chunk: logits are made for about so many positions at a time; 0: for all.
      z_loss: weight of log(Z)**2, which keeps logits from drifting (PaLM, Chowdhery et al. 2022, section 5).
      dropout_key: of `model.dropout`; without it nothing is dropped.
    """
    hidden_BTD = hidden_states(model, params, batch["inputs"], batch["segments"], dropout_key=dropout_key)
    if not chunk:
        return sums(logits(model, params, hidden_BTD), batch["targets"], batch["weights"], z_loss)
    head_VD = _head(model, params)
    return chunked_sums(chunk, z_loss, head_VD, hidden_BTD, batch["targets"], batch["weights"])


def sums(logits_V: jax.Array, targets: jax.Array, weights: jax.Array, z_loss: float) -> Sums:
    """Returns the sums for logits [..., V] in float32."""
    total = jnp.sum(cross_entropy(logits_V, targets), where=weights > 0)
    if not z_loss:
        return Sums(total, total)
    squares = jnp.square(jax.nn.logsumexp(logits_V, axis=-1))
    return Sums(total + z_loss * jnp.sum(squares, where=weights > 0), total)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def chunked_sums(
    chunk: int,
    z_loss: float,
    head_VD: jax.Array,
    hidden_BTD: jax.Array,
    targets_BT: jax.Array,
    weights_BT: jax.Array,
) -> Sums:
    """Returns the sums for the logits hidden @ head; only `objective` has gradients."""
    return _forward(chunk, z_loss, head_VD, hidden_BTD, targets_BT, weights_BT)[0]


def _forward(chunk, z_loss, head_VD, hidden_BTD, targets_BT, weights_BT):
    """Goes through the chunks; keeps the gradients of `objective`, which its backward pass only scales."""
    cut = functools.partial(_cut, parts=count_chunks(hidden_BTD.shape[1], chunk))
    once_VD = _whole_rows(head_VD, hidden_BTD.dtype)

    def step(carry: tuple[Sums, jax.Array], x: tuple) -> tuple[tuple[Sums, jax.Array], jax.Array]:
        (total, dhead_RVD), (hidden_RQCD, targets_RQC, weights_RQC) = carry, x
        part, dhead_of_chunk_RVD, dhidden_RQCD = _gradients(
            once_VD, hidden_RQCD, targets_RQC, weights_RQC, z_loss
        )
        return (jax.tree.map(jnp.add, total, part), dhead_RVD + dhead_of_chunk_RVD), dhidden_RQCD

    # Batch shards sum their gradients of the head apart, and over all of them once, after the last chunk.
    start_RVD = constrain(
        jnp.zeros((_shards("batch"), *head_VD.shape), jnp.float32), ("batch", "vocab", None)
    )
    start = (Sums(jnp.float32(0), jnp.float32(0)), start_RVD)
    (total, dhead_RVD), dhidden_NRQCD = jax.lax.scan(
        step, start, (cut(hidden_BTD), cut(targets_BT), cut(weights_BT))
    )
    dhead_VD = constrain(dhead_RVD.sum(axis=0), ("vocab", "embed"))
    return total, (dhead_VD, _join(dhidden_NRQCD))


def _backward(chunk, z_loss, gradients, dsums):
    dhead_VD, dhidden_BTD = gradients
    scale = dsums.objective
    return scale * dhead_VD, (scale * dhidden_BTD).astype(dhidden_BTD.dtype), None, None


chunked_sums.defvjp(_forward, _backward)


def _gradients(head_VD, hidden_RQCD, targets_RQC, weights_RQC, z_loss):
    """Returns the sums of a chunk, and their gradients by the head, in float32, and by the hidden states."""
    logits_RQCV = _logits(head_VD, hidden_RQCD)
    part, dlogits_RQCV = jax.value_and_grad(sums, has_aux=True)(logits_RQCV, targets_RQC, weights_RQC, z_loss)
    dlogits_RQCV = dlogits_RQCV.astype(hidden_RQCD.dtype)
    dhead_RVD = jnp.einsum("rqcv,rqcd->rvd", dlogits_RQCV, hidden_RQCD, preferred_element_type=jnp.float32)
    dhidden_RQCD = jnp.einsum("rqcv,vd->rqcd", dlogits_RQCV, head_VD)
    return Sums(*part), constrain(dhead_RVD, ("batch", "vocab", None)), dhidden_RQCD


def _head(model: ModelConfig, params: dict) -> jax.Array:
    return params["embedding" if model.tie_embeddings else "head"]


def _whole_rows(head_VD: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """Gathers the head's rows, once and not for every chunk, as they are multiplied."""
    return constrain(head_VD.astype(dtype), ("vocab", None))


def _logits(head_VD: jax.Array, hidden_RQCD: jax.Array) -> jax.Array:
    """Returns the logits of a chunk in float32."""
    logits_RQCV = jnp.einsum("rqcd,vd->rqcv", hidden_RQCD, head_VD, preferred_element_type=jnp.float32)
    return constrain(logits_RQCV, ("batch", None, "position", "vocab"))


def count_chunks(length: int, chunk: int) -> int:
    """Returns into how many equal parts to cut a window, for parts as near to `chunk` positions as can be.

    Each part lies over all devices that share the positions.
    """
    per_device = length // _shards("position")
    divisors = [n for n in range(1, per_device + 1) if per_device % n == 0]
    return min(divisors, key=lambda n: abs(math.log(length / n / chunk)))


def _shards(axis: str) -> int:
    """Returns over how many devices of the present mesh a logical axis is cut."""
    sizes = jax.sharding.get_abstract_mesh().shape
    return math.prod(sizes.get(name, 1) for name in RULES[axis])


def _cut(x: jax.Array, parts: int) -> jax.Array:
    """Cuts [B, T, ...] into [N, R, Q, C, ...]; each device keeps what it has, so a part takes every N-th."""
    length, *rest = x.shape[1:]
    x = x.reshape(_shards("batch"), -1, length // parts, parts, *rest)
    return constrain(jnp.moveaxis(x, 3, 0), (None, "batch", None, "position", *(None for _ in rest)))


def _join(x: jax.Array) -> jax.Array:
    """Undoes `_cut`."""
    parts, shards, rows, length, *rest = x.shape
    x = jnp.moveaxis(x, 0, 3).reshape(shards * rows, length * parts, *rest)
    return constrain(x, ("batch", "position", *(None for _ in rest)))
