"""Optimizers from optax, their parameter groups from the declarations, and the learning-rate schedules.

The optimizers here move parameters at their peak learning rate; the step multiplies that by
`schedule_share`, so that the end of training may be decided while it runs.
"""

import math
from collections.abc import Hashable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from optax.contrib import MuonDimensionNumbers, scale_by_muon

from tinyjax.config import ModelConfig, OptimizerConfig
from tinyjax.model.parameters import Parameter, declare, is_parameter

UNDECIDED = 2**31 - 1  # the number of steps while the clock has not decided it


class Rule(NamedTuple):
    """How one parameter is moved: by -learning_rate x (share x direction + decay x value)."""

    learning_rate: float  # peak
    share: float  # of the direction that the optimizer gives
    decay: float  # of the value


def make_optimizer(config: OptimizerConfig, model: ModelConfig) -> optax.GradientTransformation:
    """Returns clipping followed by the optimizer of that name; only matrices are decayed."""
    declared = declare(model)
    rules = jax.tree.map(lambda p: make_rule(config, model, p), declared, is_leaf=is_parameter)

    def move(direction: jax.Array, value: jax.Array, rule: Rule) -> jax.Array:
        return -rule.learning_rate * (rule.share * direction + rule.decay * value)

    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        _direction(config, declared),
        optax.stateless(lambda directions, params: jax.tree.map(move, directions, params, rules)),
    )


def make_rule(config: OptimizerConfig, model: ModelConfig, parameter: Parameter) -> Rule:
    """Returns how a parameter is moved, by its role.

    With muP, where all widths grow as d_model does, all but Muon move each element of a matrix by 1/fan-in
    (Yang et al. 2022, table 8, Adam; Lion's and Adafactor's directions are as large as Adam's). Muon's
    direction has one spectral norm at all widths, which is all that it needs (Yang, Simon & Bernstein 2023,
    condition 1). Decay is the same at all widths.
    """
    if parameter.role != "matrix":
        return Rule(config.learning_rate, parameter.multiplier, decay=0.0)
    if config.name == "muon":
        fan_in, fan_out = fans(parameter)
        share = math.sqrt(max(1, fan_out / fan_in))  # Jordan's
        return Rule(config.muon_learning_rate, parameter.multiplier * share, config.weight_decay)
    share = model.mup_base_width / model.d_model if model.mup_base_width else 1.0
    return Rule(config.learning_rate, parameter.multiplier * share, config.weight_decay)


def _direction(config: OptimizerConfig, declared: dict) -> optax.GradientTransformation:
    """Returns what makes directions of gradients: elements of about 1, or for Muon singular values."""
    match config.name:
        case "muon":
            return _muon(config, declared)
        case "adafactor":
            return _adafactor(config, declared)
        case "lion":
            return optax.scale_by_lion(config.beta1, config.beta2)
        case _:
            return optax.scale_by_adam(config.beta1, config.beta2)


def _muon(config: OptimizerConfig, declared: dict) -> optax.GradientTransformation:
    """Matrices by Muon (Jordan et al. 2024), all else by Adam, both with Nesterov momentum."""
    labels = jax.tree.map(lambda p: "muon" if p.role == "matrix" else "adam", declared, is_leaf=is_parameter)
    dimensions = jax.tree.map(_muon_dimensions, declared, is_leaf=is_parameter)
    directions: dict[Hashable, optax.GradientTransformation] = {
        "muon": scale_by_muon(weight_dimension_numbers=dimensions),
        # Without Nesterov's (Dozat 2016) the loss of small models was 0.01 higher.
        "adam": optax.scale_by_adam(config.beta1, config.beta2, nesterov=True),
    }
    return optax.partition(directions, labels)


def _muon_dimensions(parameter: Parameter) -> MuonDimensionNumbers | optax.MaskedNode:
    """Which dimensions Muon orthogonalises."""
    if parameter.role != "matrix":
        return optax.MaskedNode()
    return MuonDimensionNumbers(parameter.inputs, _outputs(parameter))


def _outputs(parameter: Parameter) -> tuple[int, ...]:
    """The dimensions a matrix writes."""
    return tuple(sorted(set(range(1, len(parameter.shape))) - set(parameter.inputs)))


def fans(parameter: Parameter) -> tuple[int, int]:
    """Returns how many inputs a matrix sums over, and how many outputs it writes."""
    fan_in = math.prod(parameter.shape[i] for i in parameter.inputs)
    return fan_in, math.prod(parameter.shape[i] for i in _outputs(parameter))


def _adafactor(config: OptimizerConfig, declared: dict) -> optax.GradientTransformation:
    """Adafactor (Shazeer & Stern 2018) with momentum and with steps that don't go by the size of the values.

    So it takes AdamW's learning rates (Zhai et al. 2022).
    """
    momentum = optax.ema(config.beta1) if config.beta1 else optax.identity()
    return optax.chain(_scale_by_factored_rms(declared), optax.clip_by_block_rms(1.0), momentum)


def _scale_by_factored_rms(declared: dict) -> optax.GradientTransformation:
    """`optax.scale_by_factored_rms` on each matrix as inputs x outputs, whatever heads it is divided into.

    Its moments stand under names of their own ("of_layers_query"), not under the parameters' paths, and so
    are replicated: they are rows and columns, or the whole of what is narrower than 128.
    """
    inner = optax.scale_by_factored_rms()
    names = jax.tree.map_with_path(lambda path, _: _name(path), declared, is_leaf=is_parameter)

    def by_name(tree: dict) -> dict[str, jax.Array]:
        matrices = jax.tree.map(_as_matrices, declared, tree, is_leaf=is_parameter)
        return dict(zip(jax.tree.leaves(names), jax.tree.leaves(matrices), strict=True))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[dict, Any]:
        directions, state = inner.update(by_name(updates), state, by_name(params))
        return jax.tree.map(lambda name, g: directions[name].reshape(g.shape), names, updates), state

    return optax.GradientTransformation(lambda params: inner.init(by_name(params)), update)


def _name(path: tuple) -> str:
    return "of_" + jax.tree_util.keystr(path, simple=True, separator="_")


def _as_matrices(parameter: Parameter, value: jax.Array) -> jax.Array:
    """Reshapes matrices to [L, inputs, outputs]; leaves all else."""
    return value.reshape(parameter.shape[0], *fans(parameter)) if parameter.role == "matrix" else value


def schedule_share(config: OptimizerConfig, step: jax.Array, num_steps: jax.Array | int) -> jax.Array:
    """Returns the share of the peak learning rate for update number `step`, counted from 0.

    Linear warm-up, then by `config.schedule`:
      wsd: stable, then a decay to `final_share` over the last `decay_share` of `num_steps`;
      linear, cosine: a decay to `final_share` over all that is left;
      rsqrt: as 1/sqrt(step), continuous with the warm-up (Vaswani et al. 2017, equation 3);
      constant.
    """
    warmup = (step + 1) / max(config.warmup_steps, 1)
    return jnp.minimum(jnp.minimum(warmup, 1.0), _warm_share(config, step, num_steps))


def _warm_share(config: OptimizerConfig, step: jax.Array, num_steps: jax.Array | int) -> jax.Array:
    """The share but for the warm-up: 1 down to `final_share`."""
    match config.schedule:
        case "constant":
            return jnp.ones(())
        case "rsqrt":
            return jnp.maximum(jnp.sqrt(max(config.warmup_steps, 1) / (step + 1)), config.final_share)
        case "wsd":
            length = config.decay_share * num_steps
        case _:
            length = jnp.maximum(num_steps - config.warmup_steps, 1)
    left = jnp.clip((num_steps - step) / length, 0.0, 1.0)
    return config.final_share + (1 - config.final_share) * _decayed(config, left)


def _decayed(config: OptimizerConfig, left: jax.Array) -> jax.Array:
    """How far a decay is from its end, 1 down to 0, when this share of its steps is left."""
    if config.schedule == "cosine":
        return (1 - jnp.cos(jnp.pi * left)) / 2
    if config.schedule == "wsd" and config.decay_shape == "sqrt":  # Hägele et al. 2024
        return 1 - jnp.sqrt(1 - left)
    return left
