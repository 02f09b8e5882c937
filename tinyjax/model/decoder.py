"""The decoder: pre-norm blocks of attention and SwiGLU over a residual stream (the llama family).

`Decoder` is a thin Linen module (`init` and `apply`); the mathematics are pure functions on the tree that
`tinyjax.model.parameters` declares. Blocks run in one `lax.scan`, so compile time does not grow with depth.
Axes: B batch, T positions, D d_model, H heads, G key/value heads, K head width, F d_ff, V vocabulary,
S cached positions, L layers.
"""

import math
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from tinyjax.config import ModelConfig
from tinyjax.model.attention import attention, masked_attention
from tinyjax.model.parameters import declare, is_parameter
from tinyjax.parallel.sharding import constrain

Params = dict[str, jax.Array]  # of one block


class KVCache(NamedTuple):
    """Keys (after RoPE) and values of the positions seen so far, for every block."""

    k_LBSGK: jax.Array
    v_LBSGK: jax.Array


class Decoder(nn.Module):
    """Next-token logits of a batch of token sequences."""

    config: ModelConfig

    @nn.compact
    def __call__(
        self,
        tokens_BT: jax.Array,
        segments_BT: jax.Array | None = None,
        positions_BT: jax.Array | None = None,
        cache: KVCache | None = None,
    ) -> tuple[jax.Array, KVCache | None]:
        """Returns float32 logits [B, T, V] and the updated cache (None without one).

        Args:
          tokens_BT: int32 token ids.
          segments_BT: stories packed side by side, numbered; a position sees its own only. Default: one.
          positions_BT: each token's position in its story. Default: counted from the segment's start.
          cache: where given, keys and values are written at `positions_BT` and read from there, and
            segments are ignored; rows may be at different positions.
        """
        params = {name: self.param(name, _initialise, node) for name, node in declare(self.config).items()}
        hidden_BTD, cache = hidden_states(self.config, params, tokens_BT, segments_BT, positions_BT, cache)
        return logits(self.config, params, hidden_BTD), cache


def _initialise(key: jax.Array, node: dict) -> dict:
    leaves, treedef = jax.tree.flatten(node, is_leaf=is_parameter)
    keys = jax.random.split(key, len(leaves))
    return treedef.unflatten(leaf.init(k) for leaf, k in zip(leaves, keys, strict=True))


def init_cache(config: ModelConfig, batch_size: int, length: int) -> KVCache:
    """Returns an empty cache for `batch_size` rows of up to `length` positions."""
    shape = (config.num_layers, batch_size, length, config.num_kv_heads, config.head_dim)
    return KVCache(*(jnp.zeros(shape, config.compute_dtype) for _ in range(2)))


def hidden_states(
    config: ModelConfig,
    params: dict,
    tokens_BT: jax.Array,
    segments_BT: jax.Array | None = None,
    positions_BT: jax.Array | None = None,
    cache: KVCache | None = None,
) -> tuple[jax.Array, KVCache | None]:
    """Returns the final, normalised residual stream [B, T, D] and the updated cache; see `Decoder`."""
    if segments_BT is None:
        segments_BT = jnp.ones_like(tokens_BT)
    if positions_BT is None:
        positions_BT = segment_positions(segments_BT)
    rope = rope_tables(positions_BT, config.head_dim, config.rope_theta)

    def step(x_BTD: jax.Array, layer: tuple) -> tuple:
        return block(config, layer[0], x_BTD, rope, segments_BT, positions_BT, layer[1])

    scanned = jax.checkpoint(step, prevent_cse=False) if config.remat == "block" else step
    x_BTD = params["embedding"].astype(config.compute_dtype)[tokens_BT]
    x_BTD = constrain(x_BTD, ("batch", "position", None))
    # On CPU a loop costs more than it saves: unrolled, gradients are reduced in fewer, larger pieces.
    unroll = jax.default_backend() == "cpu"
    x_BTD, cache = jax.lax.scan(scanned, x_BTD, (params["layers"], cache), unroll=unroll)
    return rms_norm(x_BTD, params["final_norm"], config.norm_eps), cache


def logits(config: ModelConfig, params: dict, hidden_BTD: jax.Array) -> jax.Array:
    """Returns float32 logits [B, T, V]."""
    head_VD = params["embedding" if config.tie_embeddings else "head"]
    out_BTV = jnp.einsum(
        "btd,vd->btv",
        hidden_BTD,
        head_VD.astype(hidden_BTD.dtype),
        preferred_element_type=jnp.float32,
    )
    return constrain(out_BTV, ("batch", "position", "vocab"))


def segment_positions(segments_BT: jax.Array) -> jax.Array:
    """Returns each position's distance from the start of its segment: [B, T] int32."""
    index_T = jnp.arange(segments_BT.shape[1], dtype=jnp.int32)
    previous_BT = jnp.pad(segments_BT, ((0, 0), (1, 0)))[:, :-1]
    starts_BT = jnp.where(segments_BT != previous_BT, index_T, 0)
    return index_T - jax.lax.cummax(starts_BT, axis=1)


def rope_tables(positions_BT: jax.Array, head_dim: int, theta: float) -> tuple[jax.Array, jax.Array]:
    """Returns cosine and sine [B, T, 1, K/2] in float32 (RoFormer, Su et al. 2021, section 3.2.2)."""
    frequency = theta ** (-jnp.arange(0, head_dim, 2, dtype=jnp.float32) / head_dim)
    angle = positions_BT[..., None, None].astype(jnp.float32) * frequency
    return jnp.cos(angle), jnp.sin(angle)


def apply_rope(x_BTHK: jax.Array, rope: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Turns the pairs (i, i + K/2) of every head by the position's angles."""
    cos, sin = rope
    a, b = jnp.split(x_BTHK.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1).astype(x_BTHK.dtype)


def rms_norm(x: jax.Array, scale: jax.Array, eps: float) -> jax.Array:
    """Divides by the root mean square over the last axis, in float32, and scales (Zhang & Sennrich 2019)."""
    x32 = x.astype(jnp.float32)
    mean_square = jnp.mean(jnp.square(x32), axis=-1, keepdims=True)
    return (x32 * jax.lax.rsqrt(mean_square + eps) * scale).astype(x.dtype)


def block(
    config: ModelConfig,
    params: Params,
    x_BTD: jax.Array,
    rope: tuple[jax.Array, jax.Array],
    segments_BT: jax.Array,
    positions_BT: jax.Array,
    cache: KVCache | None,
) -> tuple[jax.Array, KVCache | None]:
    """Adds attention's and the MLP's output to the residual stream; returns it and the block's cache."""
    normed_BTD = rms_norm(x_BTD, params["attention_norm"], config.norm_eps)
    q_BTHK, k_BTGK, v_BTGK = project_qkv(config, params, normed_BTD, rope)
    if cache is None:
        mixed_BTHK = attention(q_BTHK, k_BTGK, v_BTGK, segments_BT, config.attention)
    else:
        cache = KVCache(
            *(write_cache(c, n, positions_BT) for c, n in zip(cache, (k_BTGK, v_BTGK), strict=True))
        )
        seen_BTS = jnp.arange(cache.k_LBSGK.shape[1]) <= positions_BT[..., None]
        mixed_BTHK = masked_attention(q_BTHK, *cache, seen_BTS)
    x_BTD += project(mixed_BTHK, params["output"])
    x_BTD = constrain(x_BTD, ("batch", "position", None))
    normed_BTD = rms_norm(x_BTD, params["mlp_norm"], config.norm_eps)
    x_BTD += mlp(params, normed_BTD)
    return constrain(x_BTD, ("batch", "position", None)), cache


def project_qkv(
    config: ModelConfig, params: Params, x_BTD: jax.Array, rope: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns queries [B, T, H, K] and keys [B, T, G, K] after RoPE, and values [B, T, G, K]."""
    q_BTHK = project(x_BTD, params["query"])
    k_BTGK = project(x_BTD, params["key"])
    v_BTGK = project(x_BTD, params["value"])
    if config.qk_norm:
        q_BTHK = rms_norm(q_BTHK, params["query_norm"], config.norm_eps)
        k_BTGK = rms_norm(k_BTGK, params["key_norm"], config.norm_eps)
    return apply_rope(q_BTHK, rope), apply_rope(k_BTGK, rope), v_BTGK


def mlp(params: Params, x_BTD: jax.Array) -> jax.Array:
    """Returns SwiGLU(x) (Shazeer 2020, equation 6): [B, T, D]."""
    gate_BTF = project(x_BTD, params["gate"])
    up_BTF = project(x_BTD, params["up"])
    hidden_BTF = constrain(jax.nn.silu(gate_BTF) * up_BTF, ("batch", "position", "hidden"))
    return project(hidden_BTF, params["down"])


def project(x: jax.Array, weight: jax.Array) -> jax.Array:
    """Multiplies activations [B, T, ...inputs] by a float32 weight [...inputs, ...outputs] in their dtype."""
    inputs, outputs = x.shape[2:], weight.shape[x.ndim - 2 :]
    x_BTI = x.reshape(*x.shape[:2], math.prod(inputs))
    weight_IO = weight.astype(x.dtype).reshape(x_BTI.shape[-1], math.prod(outputs))
    return matmul(x_BTI, weight_IO).reshape(*x.shape[:2], *outputs)


@jax.custom_vjp
def matmul(x_BTI: jax.Array, weight_IO: jax.Array) -> jax.Array:
    """Returns x @ weight; its gradients are spelled out because XLA's CPU backend likes them this way.

    What autodiff derives transposes the larger operand: 15 % of a step on two CPU cores. For a TPU both
    forms are the same.
    """
    return jnp.einsum("bti,io->bto", x_BTI, weight_IO)


def _matmul_forward(x_BTI, weight_IO):
    return matmul(x_BTI, weight_IO), (x_BTI, weight_IO)


def _matmul_backward(saved, dout_BTO):
    x_BTI, weight_IO = saved
    dx_BTI = jnp.einsum("bto,io->bti", dout_BTO, weight_IO)
    return dx_BTI, jnp.einsum("bti,bto->io", x_BTI, dout_BTO)


matmul.defvjp(_matmul_forward, _matmul_backward)


def write_cache(cache_BSGK: jax.Array, new_BTGK: jax.Array, positions_BT: jax.Array) -> jax.Array:
    """Writes each row's new entries at its consecutive positions."""
    return jax.vmap(lambda cache, new, start: jax.lax.dynamic_update_slice_in_dim(cache, new, start, axis=0))(
        cache_BSGK, new_BTGK, positions_BT[:, 0]
    )
