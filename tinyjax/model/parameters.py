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

Role = Literal["embedding", "matrix", "norm"]  # what the optimizer needs to know


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A parameter's declaration: float32, drawn from N(0, stddev**2), or all ones where stddev is 0."""

    shape: tuple[int, ...]
    axes: tuple[str | None, ...]  # logical axes, see tinyjax.parallel.sharding.RULES
    role: Role
    stddev: float = 0.0
    inputs: tuple[int, ...] = ()  # dimensions a matrix sums over; those left, but for "layers", it writes

    def init(self, key: jax.Array) -> jax.Array:
        """Draws the initial value."""
        if not self.stddev:
            return jnp.ones(self.shape, jnp.float32)
        return self.stddev * jax.random.normal(key, self.shape, jnp.float32)

    @property
    def abstract(self) -> jax.ShapeDtypeStruct:
        """Shape and dtype without data."""
        return jax.ShapeDtypeStruct(self.shape, jnp.float32)


def declare(config: ModelConfig) -> dict:
    """Returns the tree of `Parameter`s of a model: {"embedding", "layers": {...}, "final_norm"[, "head"]}."""
    num_layers, d_model = config.num_layers, config.d_model
    heads, kv_heads, head_dim = config.num_heads, config.num_kv_heads, config.head_dim

    def norm(width: int) -> Parameter:
        return Parameter((num_layers, width), ("layers", None), "norm")

    def matrix(shape: tuple, axes: tuple, inputs: tuple[int, ...], scale: float = 1.0) -> Parameter:
        fan_in = math.prod(shape[i - 1] for i in inputs)
        return Parameter((num_layers, *shape), ("layers", *axes), "matrix", scale / math.sqrt(fan_in), inputs)

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
        "gate": matrix((d_model, config.d_ff), ("embed", "hidden"), (1,)),
        "up": matrix((d_model, config.d_ff), ("embed", "hidden"), (1,)),
        "down": matrix((config.d_ff, d_model), ("hidden", "embed"), (1,), writes),
    }
    if config.qk_norm:
        layers |= {"query_norm": norm(head_dim), "key_norm": norm(head_dim)}
    embedding = Parameter(
        (config.vocab_size, d_model), ("vocab", "embed"), "embedding", 1 / math.sqrt(d_model)
    )
    tree = {
        "embedding": embedding,
        "layers": layers,
        "final_norm": Parameter((d_model,), (None,), "norm"),
    }
    return tree if config.tie_embeddings else tree | {"head": embedding}


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
