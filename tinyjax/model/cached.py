"""The decoder a token at a time, with the keys and values of what came before in a cache.

Every block's cache is a ring: the newest entry of all rows stands at the same index, whatever their lengths,
so that a step writes one slice, and a block that sees a window keeps no more than that. What tells which
position an entry is of is its age, the number of steps since. A ring is as long as it has to be (`resize`):
all of it is read at every step. Blocks run one by one, not in a scan, whose results would be copies of all
rings.
Axes: B rows, P rows of prompts, T positions, S indices of a ring, G key/value heads, R = H // G query heads
per key/value head, K head width, D d_model, V vocabulary.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from tinyjax.config import ModelConfig
from tinyjax.model.attention import MASKED
from tinyjax.model.decoder import (
    Layer,
    attention_scale,
    block,
    check_length,
    embed,
    norm,
    rope_of,
    within_segments,
)
from tinyjax.parallel.chips import platform
from tinyjax.parallel.sharding import constrain

RING_AXES = ("batch", "kv_heads", None, None)


class Ring(NamedTuple):
    """Keys (after RoPE) and values of a block's newest positions."""

    k_BGSK: jax.Array
    v_BGSK: jax.Array


class Cache(NamedTuple):
    """What all rows have read so far."""

    rings: tuple[Ring, ...]  # of the blocks
    time: jax.Array  # int32 scalar: steps made; modulo a ring's size, the index of the next entry
    length_B: jax.Array  # int32: tokens read by each row, which is the position of its next one


class Prefix(NamedTuple):
    """Keys and values of prompts, by position, of one block."""

    k_PTGK: jax.Array
    v_PTGK: jax.Array


def unstack(params: dict) -> dict:
    """Returns the parameters with a tuple of the blocks' own in the place of those stacked over blocks."""
    count = jax.tree.leaves(params["layers"])[0].shape[0]
    layers = tuple(jax.tree.map(lambda stacked, i=i: stacked[i], params["layers"]) for i in range(count))
    return params | {"layers": layers}


def is_local(config: ModelConfig, number: int) -> bool:
    """Whether a block sees a window only: in gpt_neo every second one."""
    return config.family == "gpt_neo" and number % 2 == 1


def _sizes(config: ModelConfig, length: int) -> list[int]:
    """Returns the size of each block's ring for rows of up to `length` tokens."""
    check_length(config, length)
    return [
        min(length, config.window) if is_local(config, number) else length
        for number in range(config.num_layers)
    ]


def empty_cache(config: ModelConfig, rows: int, length: int) -> Cache:
    """Returns a cache for `rows` rows of up to `length` tokens; UserError: more than learned positions."""
    rings = []
    for size in _sizes(config, length):
        shape = (rows, config.num_kv_heads, size, config.head_dim)
        rings.append(Ring(*(jnp.zeros(shape, _cache_dtype(config)) for _ in range(2))))
    return Cache(tuple(rings), jnp.int32(0), jnp.zeros(rows, jnp.int32))


def _cache_dtype(config: ModelConfig) -> str:
    """Returns the dtype of keys and values that are kept.

    On a CPU float32: at every step, XLA would convert the whole of a bfloat16 cache there. Where heads are
    narrow that is the faster way (measured for widths 8 and 48).
    """
    wide = config.head_dim >= 32
    return "float32" if platform() == "cpu" and wide else config.compute_dtype


def resize(config: ModelConfig, cache: Cache, in_use_B: jax.Array, time: jax.Array, length: int) -> Cache:
    """Returns the cache with rings for up to `length` tokens, and its time set to `time`.

    Args:
      config: the model's.
      cache: to be changed.
      in_use_B: rows to be kept; the others have read nothing afterwards.
      time: int32, at least the tokens that any row has read, or is to be given by `insert`.
      length: tokens that the longest row may grow to.
    """
    rings = tuple(
        Ring(*(_turn(x_BGSK, cache.time, time, size) for x_BGSK in ring))
        for ring, size in zip(cache.rings, _sizes(config, length), strict=True)
    )
    return Cache(rings, time, jnp.where(in_use_B, cache.length_B, 0))


def _turn(x_BGSK: jax.Array, time: jax.Array, new_time: jax.Array, size: int) -> jax.Array:
    """Lays a ring's entries out anew so that the newest one is the last before `new_time`."""
    ages_S = (new_time - 1 - jnp.arange(size)) % size
    return constrain(x_BGSK[:, :, (time - 1 - ages_S) % x_BGSK.shape[2]], RING_AXES)


def read_prompts(
    config: ModelConfig, params: dict, tokens_PT: jax.Array
) -> tuple[jax.Array, tuple[Prefix, ...]]:
    """Returns the final residual stream [P, T, D] of prompts, and what `insert` puts into a cache.

    Shorter prompts are padded after their end: what comes later changes nothing before it.

    Args:
      config: the model's.
      params: its parameters, from `unstack`.
      tokens_PT: int32 token ids.
    """
    segments_PT = jnp.ones_like(tokens_PT)
    positions_PT = jnp.broadcast_to(jnp.arange(tokens_PT.shape[1], dtype=jnp.int32), tokens_PT.shape)
    x_PTD, rope = embed(config, params, tokens_PT, positions_PT), rope_of(config, positions_PT)
    prefixes = []
    for number, layer in enumerate(params["layers"]):
        local = is_local(config, number) or None

        def attend(q_PTHK: jax.Array, k_PTGK: jax.Array, v_PTGK: jax.Array, local=local):
            out_PTHK, _ = within_segments(config, segments_PT, local, q_PTHK, k_PTGK, v_PTGK)
            return out_PTHK, Prefix(k_PTGK, v_PTGK)

        x_PTD, prefix = block(config, Layer(layer, None, None), x_PTD, rope, attend)
        prefixes.append(prefix)
    return norm(config, params, "final_norm", x_PTD), tuple(prefixes)


def insert(cache: Cache, prefixes: tuple[Prefix, ...], source_B: jax.Array, lengths_P: jax.Array) -> Cache:
    """Returns the cache with rows that have read prompt `source_B` instead; those of a negative one stay.

    Args:
      cache: to be changed.
      prefixes: from `read_prompts`.
      source_B: int32, which prompt; several rows may have the same.
      lengths_P: int32 numbers of tokens of the prompts.
    """
    lengths_B = lengths_P[source_B]
    rings = tuple(
        _insert(ring, prefix, source_B, lengths_B, cache.time)
        for ring, prefix in zip(cache.rings, prefixes, strict=True)
    )
    return Cache(rings, cache.time, jnp.where(source_B < 0, cache.length_B, lengths_B))


def _insert(ring: Ring, prefix: Prefix, source_B: jax.Array, lengths_B: jax.Array, time: jax.Array) -> Ring:
    """Lays positions out so that the last one of each prompt is the newest entry."""
    size, width = ring.k_BGSK.shape[2], prefix.k_PTGK.shape[1]
    ages_S = (time - 1 - jnp.arange(size)) % size
    positions_BS = jnp.clip(lengths_B[:, None] - 1 - ages_S, 0, width - 1)  # older entries are never seen
    stays_B111 = (source_B < 0)[:, None, None, None]

    def place(old_BGSK: jax.Array, new_PTGK: jax.Array) -> jax.Array:
        new_BSGK = new_PTGK[source_B[:, None], positions_BS].astype(old_BGSK.dtype)
        return constrain(jnp.where(stays_B111, old_BGSK, new_BSGK.swapaxes(1, 2)), RING_AXES)

    return Ring(place(ring.k_BGSK, prefix.k_PTGK), place(ring.v_BGSK, prefix.v_PTGK))


def step(config: ModelConfig, params: dict, tokens_B: jax.Array, cache: Cache) -> tuple[jax.Array, Cache]:
    """Reads the next token of every row; returns the final residual stream [B, D] and the cache.

    Args:
      config: the model's.
      params: its parameters, from `unstack`.
      tokens_B: int32 token ids.
      cache: of what was read before.
    """
    positions_B1 = cache.length_B[:, None]
    x_B1D, rope = embed(config, params, tokens_B[:, None], positions_B1), rope_of(config, positions_B1)
    rings = []
    for layer, ring in zip(params["layers"], cache.rings, strict=True):

        def attend(q_B1HK: jax.Array, k_B1GK: jax.Array, v_B1GK: jax.Array, ring=ring):
            ring = _write(ring, k_B1GK, v_B1GK, cache.time)
            return _attend(config, q_B1HK, ring, cache), ring

        x_B1D, ring = block(config, Layer(layer, None, None), x_B1D, rope, attend)
        rings.append(ring)
    hidden_B1D = norm(config, params, "final_norm", x_B1D)
    return hidden_B1D[:, 0], Cache(tuple(rings), cache.time + 1, cache.length_B + 1)


def _write(ring: Ring, k_B1GK: jax.Array, v_B1GK: jax.Array, time: jax.Array) -> Ring:
    at = time % ring.k_BGSK.shape[2]
    write = jax.lax.dynamic_update_slice_in_dim
    k_BG1K, v_BG1K = (x.swapaxes(1, 2).astype(ring.k_BGSK.dtype) for x in (k_B1GK, v_B1GK))
    return Ring(write(ring.k_BGSK, k_BG1K, at, axis=2), write(ring.v_BGSK, v_BG1K, at, axis=2))


def _attend(config: ModelConfig, q_B1HK: jax.Array, ring: Ring, cache: Cache) -> jax.Array:
    """Returns what each head takes from the entries of its own row, the newest included: [B, 1, H, K]."""
    rows, _, heads, width = q_B1HK.shape
    size = ring.k_BGSK.shape[2]
    q_BGRK = q_B1HK.reshape(rows, config.num_kv_heads, heads // config.num_kv_heads, width)
    q_BGRK = q_BGRK.astype(ring.k_BGSK.dtype)
    scores_BGRS = jnp.einsum("bgrk,bgsk->bgrs", q_BGRK, ring.k_BGSK, preferred_element_type=jnp.float32)
    ages_S = (cache.time - jnp.arange(size)) % size
    own_BS = ages_S <= cache.length_B[:, None]
    scores_BGRS = jnp.where(own_BS[:, None, None], scores_BGRS * attention_scale(config), MASKED)
    p_BGRS = jax.nn.softmax(scores_BGRS, axis=-1).astype(ring.v_BGSK.dtype)
    mixed_BGRK = jnp.einsum("bgrs,bgsk->bgrk", p_BGRS, ring.v_BGSK)
    return mixed_BGRK.reshape(q_B1HK.shape).astype(q_B1HK.dtype)
