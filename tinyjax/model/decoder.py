"""The decoder: pre-norm blocks of attention and an MLP over a residual stream, in two families.

`Decoder` is a thin Linen module (`init` and `apply`); the mathematics are pure functions on the tree that
`tinyjax.model.parameters` declares. What is declared is used: a norm with a bias is LayerNorm, an MLP with a
gate is SwiGLU. Blocks run in one `lax.scan`, so compile time does not grow with depth; `tinyjax.model.cached`
runs the same blocks a token at a time.
Axes: B batch, T positions, D d_model, H heads, G key/value heads, K head width, F d_ff, V vocabulary,
L layers.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from tinyjax.config import ModelConfig
from tinyjax.errors import UserError
from tinyjax.model.attention import MIXED, attention
from tinyjax.model.fused import HEADS
from tinyjax.model.parameters import declare, is_parameter
from tinyjax.parallel.chips import platform
from tinyjax.parallel.sharding import constrain

Params = dict[str, jax.Array]  # of one block
Rope = tuple[jax.Array, jax.Array]  # cosine and sine
# From queries [B, T, H, K], keys and values [B, T, G, K]: what heads take [B, T, H, K], and what is kept.
Attend = Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, Any]]
# Is shown an activation under its name, and returns what is computed with: itself, but for who looks inside.
Tap = Callable[[str, jax.Array], jax.Array]

PROJECTED = "projected"  # the name that remat policies know products with matrices by
REMAT = {  # what is saved for the backward pass, by config.remat; "none" saves all
    "block": jax.checkpoint_policies.nothing_saveable,
    "attention": jax.checkpoint_policies.save_only_these_names(MIXED),
    "dots": jax.checkpoint_policies.save_only_these_names(MIXED, HEADS, PROJECTED),
}


def untapped(name: str, activation: jax.Array) -> jax.Array:
    """Returns the activation."""
    del name
    return activation


class Layer(NamedTuple):
    """What differs between the blocks; stacked over them, it is what the scan runs over."""

    params: Params
    local: jax.Array | None  # whether it sees a window only; None where no block does
    dropout_key: jax.Array | None


class Decoder(nn.Module):
    """Next-token logits of a batch of token sequences."""

    config: ModelConfig

    @nn.compact
    def __call__(
        self,
        tokens_BT: jax.Array,
        segments_BT: jax.Array | None = None,
        *,
        dropout_key: jax.Array | None = None,
    ) -> jax.Array:
        """Returns float32 logits [B, T, V].

        Args:
          tokens_BT: int32 token ids.
          segments_BT: stories packed side by side, numbered; a position sees its own only. Default: one.
          dropout_key: of `config.dropout`, in training; without it nothing is dropped.

        Raises:
          UserError: more tokens than learned positions.
        """
        params = {name: self.param(name, _initialise, node) for name, node in declare(self.config).items()}
        hidden_BTD = hidden_states(self.config, params, tokens_BT, segments_BT, dropout_key=dropout_key)
        return logits(self.config, params, hidden_BTD)


def _initialise(key: jax.Array, node: dict) -> dict:
    leaves, treedef = jax.tree.flatten(node, is_leaf=is_parameter)
    keys = jax.random.split(key, len(leaves))
    return treedef.unflatten(leaf.init(k) for leaf, k in zip(leaves, keys, strict=True))


def hidden_states(
    config: ModelConfig,
    params: dict,
    tokens_BT: jax.Array,
    segments_BT: jax.Array | None = None,
    *,
    dropout_key: jax.Array | None = None,
) -> jax.Array:
    """Returns the final, normalised residual stream [B, T, D]; see `Decoder`."""
    check_length(config, tokens_BT.shape[1])
    if segments_BT is None:
        segments_BT = jnp.ones_like(tokens_BT)
    positions_BT = segment_positions(segments_BT)
    keys_L = None if dropout_key is None else jax.random.split(dropout_key, config.num_layers + 1)
    x_BTD = embed(config, params, tokens_BT, positions_BT)
    x_BTD = dropout(config, x_BTD, None if keys_L is None else keys_L[-1])
    layers = Layer(params["layers"], local_layers(config), None if keys_L is None else keys_L[:-1])
    x_BTD = run_blocks(config, layers, x_BTD, segments_BT, rope_of(config, positions_BT))
    return norm(config, params, "final_norm", x_BTD)


def run_blocks(
    config: ModelConfig, layers: Layer, x_BTD: jax.Array, segments_BT: jax.Array, rope: Rope | None
) -> jax.Array:
    """Returns the residual stream after all blocks; in training, as `config.remat` says."""

    def step(x_BTD: jax.Array, layer: Layer) -> tuple[jax.Array, None]:
        attend = functools.partial(within_segments, config, segments_BT, layer.local)
        return block(config, layer, x_BTD, rope, attend)

    # On CPU a loop costs more than it saves: unrolled, gradients are reduced in fewer, larger pieces.
    unroll = platform() == "cpu"
    if config.remat == "none":
        return jax.lax.scan(step, x_BTD, layers, unroll=unroll)[0]
    # Outside of a loop, the compiler would see that what is computed again was there, and keep it.
    again = jax.checkpoint(step, policy=REMAT[config.remat], prevent_cse=unroll)
    return jax.lax.scan(again, x_BTD, layers, unroll=unroll)[0]


def within_segments(
    config: ModelConfig,
    segments_BT: jax.Array,
    local: jax.Array | bool | None,
    q_BTHK: jax.Array,
    k_BTGK: jax.Array,
    v_BTGK: jax.Array,
) -> tuple[jax.Array, None]:
    """Attends to the positions of the same segment, as training does; keeps nothing."""
    window = None if local is None else config.window
    out_BTHK = attention(
        q_BTHK, k_BTGK, v_BTGK, segments_BT, config.attention,
        scale=attention_scale(config), window=window, local=True if local is None else local,
    )  # fmt: skip
    return out_BTHK, None


def attention_scale(config: ModelConfig) -> float:
    """Returns what attention's logits are multiplied with; gpt_neo leaves them as they are."""
    return 1.0 if config.family == "gpt_neo" else 1 / math.sqrt(config.head_dim)


def check_length(config: ModelConfig, length: int) -> None:
    """Raises UserError where there are more positions than the model has learned."""
    if config.family == "gpt_neo" and length > config.context_length:
        raise UserError(
            f"{length} positions were asked for, but config.model.context_length is {config.context_length}, "
            "and the family gpt_neo learns only so many; shorten the text or train with a longer context"
        )


def rope_of(config: ModelConfig, positions_BT: jax.Array) -> Rope | None:
    """Returns the rotary angles of positions; None where they are learned."""
    learned = config.family == "gpt_neo"
    return None if learned else rope_tables(positions_BT, config.head_dim, config.rope_theta)


def local_layers(config: ModelConfig) -> jax.Array | None:
    """Tells which blocks see a window only: in gpt_neo every second one, [L] bool; in llama none (None)."""
    return jnp.arange(config.num_layers) % 2 == 1 if config.family == "gpt_neo" else None


def embed(config: ModelConfig, params: dict, tokens_BT: jax.Array, positions_BT: jax.Array) -> jax.Array:
    """Returns the residual stream before the first block: [B, T, D]."""
    # Whole rows: looked up by halves of a row, the partitioner would hold all positions on every device.
    # Looked up in float32, so that the gradients of a row that many tokens share are summed in float32.
    x_BTD = constrain(params["embedding"], ("vocab", None))[tokens_BT]
    if (table_TD := params.get("position_embedding")) is not None:
        x_BTD += constrain(table_TD, (None, None))[positions_BT]
    return constrain(x_BTD.astype(config.compute_dtype), ("batch", "position", None))


def dropout(config: ModelConfig, x: jax.Array, key: jax.Array | None) -> jax.Array:
    """Zeroes a share of `x` and scales up the rest; returns it as it is without a key or a share."""
    if key is None or not config.dropout:
        return x
    kept = jax.random.bernoulli(key, 1 - config.dropout, x.shape)
    return jnp.where(kept, x / (1 - config.dropout), 0).astype(x.dtype)


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


def rope_tables(positions_BT: jax.Array, head_dim: int, theta: float) -> Rope:
    """Returns cosine and sine [B, T, 1, K/2] in float32 (RoFormer, Su et al. 2021, section 3.2.2)."""
    frequency = theta ** (-jnp.arange(0, head_dim, 2, dtype=jnp.float32) / head_dim)
    angle = positions_BT[..., None, None].astype(jnp.float32) * frequency
    return jnp.cos(angle), jnp.sin(angle)


def apply_rope(x_BTHK: jax.Array, rope: Rope) -> jax.Array:
    """Turns the pairs (i, i + K/2) of every head by the position's angles."""
    cos, sin = rope
    a, b = jnp.split(x_BTHK.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1).astype(x_BTHK.dtype)


def rms_norm(x: jax.Array, scale: jax.Array, eps: float) -> jax.Array:
    """Divides by the root mean square over the last axis, in float32, and scales (Zhang & Sennrich 2019)."""
    x32 = x.astype(jnp.float32)
    mean_square = jnp.mean(jnp.square(x32), axis=-1, keepdims=True)
    return (x32 * jax.lax.rsqrt(mean_square + eps) * scale).astype(x.dtype)


def layer_norm(x: jax.Array, scale: jax.Array, bias: jax.Array, eps: float) -> jax.Array:
    """Normalises mean and variance over the last axis, in float32, scales and shifts (Ba et al. 2016)."""
    x32 = x.astype(jnp.float32)
    centred = x32 - jnp.mean(x32, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
    return (centred * jax.lax.rsqrt(variance + eps) * scale + bias).astype(x.dtype)


def norm(config: ModelConfig, params: Params, name: str, x: jax.Array) -> jax.Array:
    """Applies the norm of this name: LayerNorm where it has a bias, RMSNorm where not."""
    if (bias := params.get(f"{name}_bias")) is not None:
        return layer_norm(x, params[name], bias, config.norm_eps)
    return rms_norm(x, params[name], config.norm_eps)


def block(
    config: ModelConfig,
    layer: Layer,
    x_BTD: jax.Array,
    rope: Rope | None,
    attend: Attend,
    tap: Tap = untapped,
) -> tuple[jax.Array, Any]:
    """Adds attention's and the MLP's output to the residual stream; returns it and what `attend` keeps."""
    params, key = layer.params, layer.dropout_key
    attention_key, mlp_key = (None, None) if key is None else jax.random.split(key)
    x_BTD = tap("residual", x_BTD)
    mixed_BTHK, kept = attend(
        *project_qkv(config, params, norm(config, params, "attention_norm", x_BTD), rope, tap)
    )
    attention_BTD = project(tap("heads", mixed_BTHK), params["output"], params.get("output_bias"))
    x_BTD += dropout(config, tap("attention", attention_BTD), attention_key)
    x_BTD = tap("middle", constrain(x_BTD, ("batch", "position", None)))
    mlp_BTD = mlp(params, tap("mlp_input", norm(config, params, "mlp_norm", x_BTD)), tap)
    x_BTD += dropout(config, tap("mlp", mlp_BTD), mlp_key)
    return constrain(x_BTD, ("batch", "position", None)), kept


def project_qkv(
    config: ModelConfig, params: Params, x_BTD: jax.Array, rope: Rope | None, tap: Tap = untapped
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns queries [B, T, H, K] and keys [B, T, G, K], after RoPE if any, and values [B, T, G, K]."""
    q_BTHK = project(x_BTD, params["query"])
    k_BTGK = project(x_BTD, params["key"])
    v_BTGK = project(x_BTD, params["value"])
    if config.qk_norm:
        q_BTHK = norm(config, params, "query_norm", q_BTHK)
        k_BTGK = norm(config, params, "key_norm", k_BTGK)
    if rope is not None:
        q_BTHK, k_BTGK = apply_rope(q_BTHK, rope), apply_rope(k_BTGK, rope)
    return tap("query", q_BTHK), tap("key", k_BTGK), tap("value", v_BTGK)


def mlp(params: Params, x_BTD: jax.Array, tap: Tap = untapped) -> jax.Array:
    """Returns SwiGLU(x) (Shazeer 2020, equation 6), or without a gate a GELU layer: [B, T, D].

    GELU is the approximation by tanh (Hendrycks & Gimpel 2016, section 2), which is GPT-Neo's.
    """
    up_BTF = tap("up", project(x_BTD, params["up"], params.get("up_bias")))
    if "gate" in params:
        hidden_BTF = jax.nn.silu(tap("gate", project(x_BTD, params["gate"]))) * up_BTF
    else:
        hidden_BTF = jax.nn.gelu(up_BTF, approximate=True)
    hidden_BTF = tap("neurons", constrain(hidden_BTF, ("batch", "position", "hidden")))
    return project(hidden_BTF, params["down"], params.get("down_bias"))


def project(x: jax.Array, weight: jax.Array, bias: jax.Array | None = None) -> jax.Array:
    """Multiplies activations [B, T, ...inputs] by a float32 weight [...inputs, ...outputs] in their dtype."""
    inputs, outputs = x.shape[2:], weight.shape[x.ndim - 2 :]
    x_BTI = x.reshape(*x.shape[:2], math.prod(inputs))
    weight_IO = weight.astype(x.dtype).reshape(x_BTI.shape[-1], math.prod(outputs))
    out_BTO = checkpoint_name(matmul(x_BTI, weight_IO), PROJECTED)
    out = out_BTO.reshape(*x.shape[:2], *outputs)
    return out if bias is None else (out + bias).astype(x.dtype)  # so that bias gradients are float32 sums


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
