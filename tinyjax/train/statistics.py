"""Norms of each parameter in each layer, which show where training goes wrong before the loss does."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from tinyjax.checkpoint.manager import named_leaves
from tinyjax.config import ModelConfig
from tinyjax.model.parameters import declare

Statistics = dict[str, dict]  # of each name, a tree like the parameters: a number for each layer


def norms(model: ModelConfig, tree: dict) -> dict:
    """Returns the norm of each array of a tree like the parameters: [L] where stacked over layers."""

    def norm(x: jax.Array, axes: tuple[str | None, ...]) -> jax.Array:
        return jnp.sqrt(jnp.sum(jnp.square(x), axis=tuple(range(int("layers" in axes), x.ndim))))

    return jax.tree.map(lambda x, p: norm(x, p.axes), tree, declare(model))


def statistics(model: ModelConfig, params: dict, grads: dict, change: dict) -> Statistics:
    """Returns norms of gradients before clipping, of parameters, and of changes as a share of the latter."""
    sizes = norms(model, params)
    ratios = jax.tree.map(lambda c, p: c / jnp.maximum(p, 1e-30), norms(model, change), sizes)
    return {"grad_norm": norms(model, grads), "param_norm": sizes, "update_ratio": ratios}


def only_where(due: jax.Array, compute: Callable[[], Statistics]) -> Statistics:
    """Computes statistics where `due` is true, and zeros at no cost where it is not."""
    return jax.lax.cond(
        due,
        compute,
        lambda: jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(compute)),
    )


def as_metrics(values: Statistics) -> dict[str, float | list[float]]:
    """Returns statistics, read from the devices, by name; those of stacked parameters are lists."""
    return {f"statistics/{name}": leaf.tolist() for name, leaf in named_leaves(values).items()}
