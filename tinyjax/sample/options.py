"""How the next token is chosen from its logits: temperature, then top-k, then top-p."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from tinyjax.errors import UserError

EXCLUDED = -1e30  # logit of a token that may not be chosen


class Options(NamedTuple):
    """Sampling options; all may change without recompiling."""

    temperature: float = 0.8  # 0: always the likeliest token
    top_k: int = 0  # only the k likeliest tokens; 0: all
    top_p: float = 1.0  # only the likeliest tokens that together have this probability


def check(options: Options) -> Options:
    """Returns the options; raises UserError for one out of range."""
    for name, holds, rule in (
        ("temperature", 0 <= options.temperature < math.inf, "0 or more"),
        ("top_k", options.top_k >= 0, "0 (off) or more"),
        ("top_p", 0 < options.top_p <= 1, "above 0 and at most 1"),
    ):
        if not holds:
            raise UserError(f"--{name} is {getattr(options, name)}; it must be {rule}")
    return options


def choose(logits_V: jax.Array, key: jax.Array, options: Options) -> jax.Array:
    """Draws a token id from the filtered distribution."""
    scaled_V = logits_V / jnp.maximum(options.temperature, 1e-6)
    filtering = (options.top_k > 0) | (options.top_p < 1.0)
    kept_V = jax.lax.cond(filtering, _filter, lambda logits_V, _: logits_V, scaled_V, options)
    drawn = jax.random.categorical(key, kept_V)
    return jnp.where(options.temperature > 0, drawn, jnp.argmax(logits_V)).astype(jnp.int32)


def _filter(logits_V: jax.Array, options: Options) -> jax.Array:
    """Excludes what top-k, and of the rest top-p, leaves out; the likeliest token always stays."""
    order_V = jnp.argsort(-logits_V)
    sorted_V = logits_V[order_V]
    rank_V = jnp.arange(len(logits_V))
    sorted_V = jnp.where((options.top_k > 0) & (rank_V >= options.top_k), EXCLUDED, sorted_V)
    p_V = jax.nn.softmax(sorted_V)
    before_V = jnp.cumsum(p_V) - p_V  # probability of all likelier tokens
    beyond_V = (options.top_p < 1.0) & (before_V >= options.top_p)
    sorted_V = jnp.where(beyond_V & (rank_V > 0), EXCLUDED, sorted_V)
    return jnp.zeros_like(logits_V).at[order_V].set(sorted_V)
