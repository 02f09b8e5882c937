"""Optimizers from optax, their parameter groups from the declarations, and the learning-rate schedule.

The optimizers here move parameters at their peak learning rate; the step multiplies that by
`schedule_share`, so that the end of training may be decided while it runs.
"""

import jax
import jax.numpy as jnp
import optax
from optax.contrib import MuonDimensionNumbers, muon

from tinyjax.config import ModelConfig, OptimizerConfig
from tinyjax.model.parameters import Parameter, declare, is_parameter

UNDECIDED = 2**31 - 1  # the number of steps while the clock has not decided it


def make_optimizer(config: OptimizerConfig, model: ModelConfig) -> optax.GradientTransformation:
    """Returns clipping followed by AdamW or Muon; only matrices are decayed."""
    declared = declare(model)
    is_matrix = jax.tree.map(lambda p: p.role == "matrix", declared, is_leaf=is_parameter)
    if config.name == "muon":
        matrices = jax.tree.map(_muon_dimensions, declared, is_leaf=is_parameter)
        update = muon(
            config.muon_learning_rate,
            weight_decay=config.weight_decay,
            adam_learning_rate=config.learning_rate,
            adam_b1=config.beta1,
            adam_b2=config.beta2,
            muon_weight_dimension_numbers=matrices,
        )
    else:
        update = optax.adamw(
            config.learning_rate,
            config.beta1,
            config.beta2,
            weight_decay=config.weight_decay,
            mask=is_matrix,
        )
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), update)


def _muon_dimensions(parameter: Parameter) -> MuonDimensionNumbers | None:
    """Which dimensions Muon orthogonalises; None leaves the parameter to AdamW."""
    if parameter.role != "matrix":
        return None
    outputs = set(range(1, len(parameter.shape))) - set(parameter.inputs)
    return MuonDimensionNumbers(parameter.inputs, tuple(sorted(outputs)))


def schedule_share(config: OptimizerConfig, step: jax.Array, num_steps: jax.Array | int) -> jax.Array:
    """Returns the share of the peak learning rate for update number `step`, counted from 0.

    Linear warm-up, then stable, then a linear decay to `final_share` over the last `decay_share` of
    `num_steps`.
    """
    warmup = (step + 1) / max(config.warmup_steps, 1)
    left = (num_steps - step) / (config.decay_share * num_steps)
    decay = config.final_share + (1 - config.final_share) * left
    return jnp.clip(jnp.minimum(warmup, decay), 0.0, 1.0)
