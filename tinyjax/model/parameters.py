"""The one place where each parameter's shape, logical axes and initialiser stand.

Abstract shapes, shardings, optimizer groups and (later) export names are all derived from `declare`.
Parameters of the blocks are stacked over a leading "layers" axis, so that the tree has a dozen leaves
whatever the depth. Everything is stored in float32.
"""

import dataclasses
import math
from typing import Literal

import jax
import jax.numpy as jnp

from tinyjax.config import ModelConfig

Role = Literal["embedding", "matrix", "norm", "bias"]  # what the optimizer needs to know

GPT_NEO_STDDEV = 0.02  # of every matrix and embedding, whatever its size, as in the released models


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A parameter's declaration: float32, drawn from N(0, stddev**2); where that is 0, a norm is 1, a bias 0.

    `multiplier` is one of muP's, which would stand in the network: the initial value and the learning rate
    are multiplied instead (the same thing, Yang et al. 2022), and the network stays as it is.
    """

    shape: tuple[int, ...]
    axes: tuple[str | None, ...]  # logical axes, see tinyjax.parallel.sharding.RULES
    role: Role
    stddev: float = 0.0
    inputs: tuple[int, ...] = ()  # dimensions a matrix sums over; those left, but for "layers", it writes
    multiplier: float = 1.0

    def init(self, key: jax.Array) -> jax.Array:
        """Draws the initial value."""
        if not self.stddev:
            return jnp.full(self.shape, 0.0 if self.role == "bias" else self.multiplier, jnp.float32)
        return self.multiplier * self.stddev * jax.random.normal(key, self.shape, jnp.float32)

    @property
    def abstract(self) -> jax.ShapeDtypeStruct:
        """Shape and dtype without data."""
        return jax.ShapeDtypeStruct(self.shape, jnp.float32)


def declare(config: ModelConfig) -> dict:
    """Returns the tree of `Parameter`s of a model: {"embedding", "layers": {...}, "final_norm", ...}."""
    d_model, learned_positions = config.d_model, config.family == "gpt_neo"
    # muP (Yang et al. 2022, table 8): embeddings of one size at all widths; logits times base/width, which
    # the final norm holds, as it stands before the head whether tied or not.
    base_width = config.mup_base_width or d_model
    stddev = GPT_NEO_STDDEV if learned_positions else 1 / math.sqrt(base_width)
    embedding = Parameter((config.vocab_size, d_model), ("vocab", "embed"), "embedding", stddev)
    tree = {
        "embedding": embedding,
        "layers": _declare_blocks(config),
        "final_norm": Parameter((d_model,), (None,), "norm", multiplier=base_width / d_model),
    }
    if learned_positions:
        tree["position_embedding"] = Parameter(
            (config.context_length, d_model), (None, "embed"), "embedding", stddev
        )
        tree["final_norm_bias"] = Parameter((d_model,), (None,), "bias")
    return tree if config.tie_embeddings else tree | {"head": embedding}


def _declare_blocks(config: ModelConfig) -> dict[str, Parameter]:
    num_layers, d_model, llama = config.num_layers, config.d_model, config.family == "llama"
    heads, kv_heads, head_dim = config.num_heads, config.num_kv_heads, config.head_dim

    def norm(width: int) -> Parameter:
        return Parameter((num_layers, width), ("layers", None), "norm")

    def bias(width: int, axis: str | None = None) -> Parameter:
        return Parameter((num_layers, width), ("layers", axis), "bias")

    def matrix(shape: tuple, axes: tuple, inputs: tuple[int, ...], scale: float = 1.0) -> Parameter:
        fan_in = math.prod(shape[i - 1] for i in inputs)
        stddev = scale / math.sqrt(fan_in) if llama else GPT_NEO_STDDEV
        return Parameter((num_layers, *shape), ("layers", *axes), "matrix", stddev, inputs)

    # The matrices that write into the residual stream start smaller, so that its size at the output
    # does not grow with depth (GPT-2, Radford et al. 2019, section 2.3).
    writes = 1 / math.sqrt(2 * num_layers)
    layers = {
        "attention_norm": norm(d_model),
        "query": matrix((d_model, heads, head_dim), ("embed", "heads", None), (1,)),
        "key": matrix((d_model, kv_heads, head_dim), ("embed", "kv_heads", None), (1,)),
        "value": matrix((d_model, kv_heads, head_dim), ("embed", "kv_heads", None), (1,)),
        "output": matrix((heads, head_dim, d_model), ("heads", None, "embed"), (1, 2), writes),
        "mlp_norm": norm(d_model),
        "up": matrix((d_model, config.d_ff), ("embed", "hidden"), (1,)),
        "down": matrix((config.d_ff, d_model), ("hidden", "embed"), (1,), writes),
    }
    if not llama:
        widths = {"attention_norm": d_model, "output": d_model, "mlp_norm": d_model, "down": d_model}
        layers |= {f"{name}_bias": bias(width) for name, width in widths.items()}
        return layers | {"up_bias": bias(config.d_ff, "hidden")}
    layers["gate"] = matrix((d_model, config.d_ff), ("embed", "hidden"), (1,))
    if config.qk_norm:
        layers |= {"query_norm": norm(head_dim), "key_norm": norm(head_dim)}
    # muP: where heads widen, attention by 1/K for 1/sqrt(K), which the queries hold. Matrices have the
    # table's 1/sqrt(fan-in) anyway.
    scaled = "query_norm" if config.qk_norm else "query"
    multiplier = math.sqrt((config.mup_base_head_dim or head_dim) / head_dim)
    return layers | {scaled: dataclasses.replace(layers[scaled], multiplier=multiplier)}


def is_parameter(node: object) -> bool:
    """Tells a declaration from a dict of them, for `jax.tree.map(..., is_leaf=is_parameter)`."""
    return isinstance(node, Parameter)


def abstract_params(config: ModelConfig) -> dict:
    """Returns the tree of shapes and dtypes of the parameters."""
    return jax.tree.map(lambda p: p.abstract, declare(config), is_leaf=is_parameter)


def count(config: ModelConfig) -> dict[str, int]:
    """Returns the number of parameters: {"body", "embedding", "total"}."""
    leaves = jax.tree.leaves(declare(config), is_leaf=is_parameter)
    embedding = sum(math.prod(p.shape) for p in leaves if p.role == "embedding")
    total = sum(math.prod(p.shape) for p in leaves)
    return {"body": total - embedding, "embedding": embedding, "total": total}
