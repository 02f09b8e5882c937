"""Weights in int8, by channel: what a matrix writes, or a row of the embedding, has a scale of its own."""

import dataclasses

import jax
import jax.numpy as jnp

from tinyjax.config import ModelConfig
from tinyjax.model.parameters import Parameter, declare, is_parameter

_LARGEST = 127


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Int8:
    """A weight as int8 values, each of which counts times its channel's scale; used like an array."""

    values: jax.Array
    scale: jax.Array  # float32, of the same number of dimensions; of size 1 where a channel extends

    @property
    def shape(self) -> tuple[int, ...]:
        """The weight's."""
        return self.values.shape

    @property
    def T(self) -> "Int8":  # noqa: N802 (as of arrays)
        """The weight transposed."""
        return Int8(self.values.T, self.scale.T)

    def astype(self, dtype: jax.typing.DTypeLike) -> jax.Array:
        """Returns the weight in another dtype."""
        return self.values.astype(dtype) * self.scale.astype(dtype)

    def __getitem__(self, rows: jax.Array) -> jax.Array:
        """Returns rows in float32."""
        return self.values[rows].astype(jnp.float32) * self.scale[rows]


def quantize(config: ModelConfig, params: dict) -> dict:
    """Returns the parameters with matrices and the token embedding as `Int8`; norms and biases stay."""

    def one(declared: Parameter, weight: jax.Array) -> jax.Array | Int8:
        axes = declared.inputs if declared.role == "matrix" else (1,)
        return to_int8(weight, axes) if _is_large(declared) else weight

    return jax.tree.map(one, declare(config), params, is_leaf=is_parameter)


def _is_large(declared: Parameter) -> bool:
    return declared.role == "matrix" or "vocab" in declared.axes


def to_int8(weight: jax.Array, axes: tuple[int, ...]) -> Int8:
    """Returns a weight as int8, with one scale for all that lies along `axes`: its largest becomes 127."""
    scale = jnp.max(jnp.abs(weight), axis=axes, keepdims=True) / _LARGEST
    values = jnp.round(weight / jnp.where(scale > 0, scale, 1))
    return Int8(values.astype(jnp.int8), scale)
