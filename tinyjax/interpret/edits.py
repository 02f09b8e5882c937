"""Interventions: what an activation is replaced with before the model goes on with it.

Each is a tree of arrays, so that other numbers in it compile nothing anew. All broadcast against the
activation: [B, T, D] of the residual stream, [B, T, H, K] of heads, [B, H, T, S] of patterns, [B, T, F] of
neurons.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tinyjax.errors import UserError


class Scale(NamedTuple):
    """Multiplies: 0 removes, 1 leaves."""

    factor: jax.Array | np.ndarray | float

    @classmethod
    def without(cls, *, heads: Sequence[int], of: int) -> "Scale":
        """Returns what removes some of the `of` heads from "heads" [B, T, H, K]."""
        if outside := [head for head in heads if not 0 <= head < of]:
            raise UserError(f"there is no head {outside[0]}; they are numbered from 0 to {of - 1}")
        factor_H = np.ones(of, np.float32)
        factor_H[list(heads)] = 0
        return cls(factor_H[:, None])


class Add(NamedTuple):
    """Adds, such as a direction to the residual stream."""

    value: jax.Array | np.ndarray | float


class Replace(NamedTuple):
    """Puts another value, such as a mean or that of another run, where `where` holds."""

    value: jax.Array | np.ndarray | float
    where: jax.Array | np.ndarray | bool = True


Edit = Scale | Add | Replace


def apply(edit: Edit, activation: jax.Array) -> jax.Array:
    """Returns the changed activation, in the dtype that it had."""
    match edit:
        case Scale(factor):
            changed = activation * factor
        case Add(value):
            changed = activation + value
        case Replace(value, where):
            changed = jnp.where(where, value, activation)
    return jnp.broadcast_to(changed.astype(activation.dtype), activation.shape)
