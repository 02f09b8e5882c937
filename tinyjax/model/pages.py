"""The decoder some tokens at a time, with keys and values by position, so that tokens can be taken back.

The rings of `tinyjax.model.cached` have the newest entry of all rows at one index; here every row is written
at its own length, and a smaller length is all that forgetting its newest tokens takes. The blocks are the
same; those that see a window keep all positions too.
Axes: B rows, P prompts, T new tokens, S positions, G key/value heads, K head width, D d_model.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from tinyjax.config import ModelConfig
from tinyjax.model.attention import causal_mask, masked_attention
from tinyjax.model.cached import Prefix, is_local
from tinyjax.model.decoder import Layer, attention_scale, block, check_length, embed, norm, rope_of
from tinyjax.parallel.sharding import constrain

PAGE_AXES = ("batch", None, "kv_heads", None)


class Page(NamedTuple):
    """Keys (after RoPE) and values of a block, by position; what stands from a row's length on is void."""

    k_BSGK: jax.Array
    v_BSGK: jax.Array


class Pages(NamedTuple):
    """What all rows have read so far."""

    pages: tuple[Page, ...]  # of the blocks
    length_B: jax.Array  # int32: tokens read by each row; may be set smaller


def empty_pages(config: ModelConfig, rows: int, size: int) -> Pages:
    """Returns pages for `rows` rows of up to `size` tokens; UserError: more than learned positions."""
    check_length(config, size)
    shape = (rows, size, config.num_kv_heads, config.head_dim)

    def empty() -> jax.Array:
        return constrain(jnp.zeros(shape, config.compute_dtype), PAGE_AXES)

    pages = tuple(Page(empty(), empty()) for _ in range(config.num_layers))
    return Pages(pages, jnp.zeros(rows, jnp.int32))


def resize(config: ModelConfig, pages: Pages, size: int) -> Pages:
    """Returns the pages with room for `size` positions, at least as many as any row has read."""
    check_length(config, size)

    def fit(x_BSGK: jax.Array) -> jax.Array:
        more = max(0, size - x_BSGK.shape[1])
        return constrain(jnp.pad(x_BSGK, ((0, 0), (0, more), (0, 0), (0, 0)))[:, :size], PAGE_AXES)

    return Pages(jax.tree.map(fit, pages.pages), pages.length_B)


def lay_out(pages: Pages, prefixes: tuple[Prefix, ...], source_B: jax.Array, lengths_P: jax.Array) -> Pages:
    """Returns the pages with rows that have read prompt `source_B` instead; those of a negative one stay.

    Args:
      pages: to be changed, with room for the prompts.
      prefixes: from `tinyjax.model.cached.read_prompts`.
      source_B: int32, which prompt; several rows may have the same.
      lengths_P: int32 numbers of the prompts' tokens that count as read.
    """
    stays_B = source_B < 0

    def place(old_BSGK: jax.Array, new_PTGK: jax.Array) -> jax.Array:
        width = min(old_BSGK.shape[1], new_PTGK.shape[1])
        kept_BTGK, new_BTGK = old_BSGK[:, :width], new_PTGK[source_B, :width]
        placed_BTGK = jnp.where(stays_B[:, None, None, None], kept_BTGK, new_BTGK)
        return constrain(old_BSGK.at[:, :width].set(placed_BTGK), PAGE_AXES)

    laid_out = tuple(
        Page(place(page.k_BSGK, prefix.k_PTGK), place(page.v_BSGK, prefix.v_PTGK))
        for page, prefix in zip(pages.pages, prefixes, strict=True)
    )
    return Pages(laid_out, jnp.where(stays_B, pages.length_B, lengths_P[source_B]))


def extend(config: ModelConfig, params: dict, tokens_BT: jax.Array, pages: Pages) -> tuple[jax.Array, Pages]:
    """Reads the next tokens of every row; returns the final residual stream [B, T, D] and the pages.

    Tokens for which there is no room are not kept, and what the model makes of them means nothing.

    Args:
      config: the model's.
      params: its parameters, from `tinyjax.model.cached.unstack`.
      tokens_BT: int32 token ids.
      pages: of what was read before.
    """
    positions_BT = pages.length_B[:, None] + jnp.arange(tokens_BT.shape[1])
    x_BTD, rope = embed(config, params, tokens_BT, positions_BT), rope_of(config, positions_BT)
    extended = []
    for number, (layer, page) in enumerate(zip(params["layers"], pages.pages, strict=True)):
        window = config.window if is_local(config, number) else None

        def attend(q_BTHK: jax.Array, k_BTGK: jax.Array, v_BTGK: jax.Array, page=page, window=window):
            page = Page(_write(page.k_BSGK, k_BTGK, positions_BT), _write(page.v_BSGK, v_BTGK, positions_BT))
            mask_BTS = causal_mask(positions_BT[..., None], jnp.arange(page.k_BSGK.shape[1]), window)
            scale = attention_scale(config)
            return masked_attention(q_BTHK, page.k_BSGK, page.v_BSGK, mask_BTS, scale), page

        x_BTD, page = block(config, Layer(layer, None, None), x_BTD, rope, attend)
        extended.append(page)
    hidden_BTD = norm(config, params, "final_norm", x_BTD)
    return hidden_BTD, Pages(tuple(extended), pages.length_B + tokens_BT.shape[1])


def _write(x_BSGK: jax.Array, new_BTGK: jax.Array, positions_BT: jax.Array) -> jax.Array:
    rows_B1 = jnp.arange(len(x_BSGK))[:, None]
    return x_BSGK.at[rows_B1, positions_BT].set(new_BTGK.astype(x_BSGK.dtype), mode="drop")
