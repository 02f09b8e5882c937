"""How the next token of every row is chosen from its logits.

In this order: repetition penalty (Keskar et al. 2019, CTRL, section 4.1), frequency and presence penalty,
bias, what may not be drawn, temperature, top-k, top-p (Holtzman et al. 2020) of what is left, min-p; a draw.
Top-k and top-p look for a threshold instead of sorting the vocabulary, so equal logits stay or go together.
Axes: B rows, V vocabulary, E tokens that end a story, W forbidden sequences, N their longest length.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

EXCLUDED = -1e30  # logit of a token that may not be chosen
NONE = -1  # stands in the place of a token where there is none
_BLOCK = 128  # tokens that are drawn among after their block was


class Rules(NamedTuple):
    """What the rows ask for. Arrays over V or W that no row needs have size 0 there."""

    repetition_B: jax.Array
    frequency_B: jax.Array
    presence_B: jax.Array
    bias_BV: jax.Array  # float32
    banned_BWN: jax.Array  # int32 sequences, at the end of N
    ends_BE: jax.Array  # int32
    min_tokens_B: jax.Array
    temperature_B: jax.Array
    top_k_B: jax.Array
    top_p_B: jax.Array
    min_p_B: jax.Array


class Past(NamedTuple):
    """What the rules need to know of what was read; of size 0 where no row needs it."""

    prompt_BV: jax.Array  # bool: occurs in the prompt
    drawn_BV: jax.Array  # int32: how often it was drawn
    recent_BN: jax.Array  # int32: the newest tokens, one fewer than the longest forbidden sequence


def remember(past: Past, token_B: jax.Array) -> Past:
    """Returns the past with another token of each row."""
    drawn_BV, recent_BN = past.drawn_BV, past.recent_BN
    if drawn_BV.shape[1]:
        drawn_BV = drawn_BV.at[jnp.arange(len(token_B)), token_B].add(1)
    if recent_BN.shape[1]:
        recent_BN = jnp.concatenate([recent_BN[:, 1:], token_B[:, None]], axis=1)
    return Past(past.prompt_BV, drawn_BV, recent_BN)


def choose(
    logits_BV: jax.Array, keys_B: jax.Array, rules: Rules, past: Past, drawn_B: jax.Array
) -> jax.Array:
    """Returns the next token of each row: int32 [B].

    Args:
      logits_BV: float32, of the model.
      keys_B: keys of this draw.
      rules: what the rows ask for.
      past: of the rows.
      drawn_B: how many tokens each has drawn.
    """
    logits_BV = adjust(logits_BV, rules, past, drawn_B)
    likeliest_B = likeliest(logits_BV)
    greedy_B = rules.temperature_B <= 0

    def drawn() -> jax.Array:
        scaled_BV = logits_BV / jnp.where(greedy_B, 1.0, rules.temperature_B)[:, None]
        return draw(keep(scaled_BV, rules), keys_B)

    return jnp.where(greedy_B, likeliest_B, jax.lax.cond(greedy_B.all(), lambda: likeliest_B, drawn))


def likeliest(logits_BV: jax.Array) -> jax.Array:
    """Returns the first of the largest logits of each row: int32 [B].

    On a CPU two plain reductions take an eighth of the time of `jnp.argmax`, which carries pairs.
    """
    tokens_BV = jax.lax.broadcasted_iota(jnp.int32, logits_BV.shape, 1)
    is_top_BV = logits_BV == logits_BV.max(1, keepdims=True)
    return jnp.where(is_top_BV, tokens_BV, logits_BV.shape[1] - 1).min(1)


def adjust(logits_BV: jax.Array, rules: Rules, past: Past, drawn_B: jax.Array) -> jax.Array:
    """Returns the logits after penalties and bias, with what may not be drawn excluded."""
    if past.drawn_BV.shape[1]:
        seen_BV = past.prompt_BV | (past.drawn_BV > 0)
        rate_B1 = rules.repetition_B[:, None]
        penalized_BV = jnp.where(logits_BV > 0, logits_BV / rate_B1, logits_BV * rate_B1)
        logits_BV = jnp.where(seen_BV, penalized_BV, logits_BV)
        logits_BV -= rules.frequency_B[:, None] * past.drawn_BV
        logits_BV -= rules.presence_B[:, None] * (past.drawn_BV > 0)
    if rules.bias_BV.shape[1]:
        logits_BV += rules.bias_BV
    if rules.banned_BWN.shape[1]:
        logits_BV = _exclude(logits_BV, *_forbidden(rules.banned_BWN, past.recent_BN))
    early_B1 = (drawn_B < rules.min_tokens_B)[:, None]
    return _exclude(logits_BV, rules.ends_BE, early_B1 & (rules.ends_BE != NONE))


def _forbidden(banned_BWN: jax.Array, recent_BN: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the last token of each sequence, and whether all before it were the newest ones."""
    before_BWN, last_BW = banned_BWN[..., :-1], banned_BWN[..., -1]
    same_BWN = (before_BWN == recent_BN[:, None]) | (before_BWN == NONE)
    return last_BW, same_BWN.all(-1) & (last_BW != NONE)


def _exclude(logits_BV: jax.Array, tokens_BX: jax.Array, holds_BX: jax.Array) -> jax.Array:
    """Excludes tokens of each row where `holds_BX`."""
    outside = logits_BV.shape[1]
    at_BX = jnp.where(holds_BX, tokens_BX, outside)
    return logits_BV.at[jnp.arange(len(logits_BV))[:, None], at_BX].set(EXCLUDED, mode="drop")


def keep(logits_BV: jax.Array, rules: Rules) -> jax.Array:
    """Excludes what top-k, of the rest top-p, and min-p leave out; the likeliest token always stays."""
    top_B1 = logits_BV.max(1, keepdims=True)
    ordered_BV = _ordered(logits_BV)

    def by_count(ordered_BV: jax.Array) -> jax.Array:
        wanted_B = jnp.where(rules.top_k_B > 0, rules.top_k_B, logits_BV.shape[1])
        ones_BV = jnp.ones_like(logits_BV)
        return ordered_BV >= _threshold(ordered_BV, ones_BV, wanted_B)[:, None]

    def by_mass(kept_BV: jax.Array) -> jax.Array:
        mass_BV = jnp.where(kept_BV, jnp.exp(logits_BV - top_B1), 0)
        wanted_B = jnp.where(rules.top_p_B < 1, rules.top_p_B * mass_BV.sum(1), 0)
        threshold_B = jnp.where(rules.top_p_B < 1, _threshold(ordered_BV, mass_BV, wanted_B), 0)
        return kept_BV & (ordered_BV >= threshold_B[:, None])

    kept_BV = logits_BV >= top_B1 + jnp.log(rules.min_p_B)[:, None]
    counted_BV = _if(rules.top_k_B.any(), by_count, ordered_BV, jnp.ones_like(kept_BV))
    kept_BV &= _if((rules.top_p_B < 1).any(), by_mass, counted_BV, counted_BV)
    return jnp.where(kept_BV, logits_BV, EXCLUDED)


def _if(condition: jax.Array, function: Callable, argument: jax.Array, otherwise: jax.Array) -> jax.Array:
    return jax.lax.cond(condition, function, lambda _: otherwise, argument)


def _ordered(x: jax.Array) -> jax.Array:
    """Returns uint32 numbers in the order of the float32 ones."""
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
    return jnp.where(bits >> 31 == 1, ~bits, bits | jnp.uint32(1 << 31))


def _threshold(ordered_BV: jax.Array, weights_BV: jax.Array, wanted_B: jax.Array) -> jax.Array:
    """Returns the largest number at or above which entries weigh `wanted_B`: uint32 [B], bit by bit."""

    def set_bit(number: jax.Array, threshold_B: jax.Array) -> jax.Array:
        higher_B = threshold_B | (jnp.uint32(1) << (31 - number).astype(jnp.uint32))
        weight_B = jnp.where(ordered_BV >= higher_B[:, None], weights_BV, 0).sum(1)
        return jnp.where(weight_B >= wanted_B, higher_B, threshold_B)

    return jax.lax.fori_loop(0, 32, set_bit, jnp.zeros(len(ordered_BV), jnp.uint32))


def draw(logits_BV: jax.Array, keys_B: jax.Array) -> jax.Array:
    """Draws a token of each row from the softmax of its logits: int32 [B].

    First a block of neighbouring tokens by its sum, then one of the block: of each row two random numbers are
    enough, where Gumbel's trick would need one for every token.
    """
    rows, size = logits_BV.shape
    weights_BV = jnp.exp(logits_BV - logits_BV.max(1, keepdims=True))
    blocks_BNU = jnp.pad(weights_BV, ((0, 0), (0, -size % _BLOCK))).reshape(rows, -1, _BLOCK)
    uniform_B2 = jax.vmap(lambda key: jax.random.uniform(key, (2,)))(keys_B)
    block_B = _pick(blocks_BNU.sum(2), uniform_B2[:, 0])
    block_BU = jnp.take_along_axis(blocks_BNU, block_B[:, None, None], axis=1)[:, 0]
    return block_B * _BLOCK + _pick(block_BU, uniform_B2[:, 1])


def _pick(weights_BN: jax.Array, uniform_B: jax.Array) -> jax.Array:
    """Returns where, from the left, a share `uniform_B` of all weight is reached; never where none is."""
    up_to_BN = jnp.cumsum(weights_BN, axis=1)
    total_B = up_to_BN[:, -1]
    share_B = jnp.minimum(uniform_B * total_B, jnp.nextafter(total_B, jnp.zeros_like(total_B)))
    return (up_to_BN <= share_B[:, None]).sum(1).astype(jnp.int32)
