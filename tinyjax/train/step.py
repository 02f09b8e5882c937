"""The training step: loss, gradients, update: one jitted function over the mesh."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tinyjax.config import Config
from tinyjax.model.decoder import Decoder
from tinyjax.model.loss import Batch, mean_loss
from tinyjax.model.parameters import declare, is_parameter
from tinyjax.parallel.sharding import named_sharding
from tinyjax.train.optimizer import make_optimizer, schedule_share


class TrainState(NamedTuple):
    """Everything a step changes, and a checkpoint holds; also the tree of its shapes, or of its shardings."""

    step: Any  # int32, updates made so far
    params: dict
    opt_state: optax.OptState


class Metrics(NamedTuple):
    """What a step reports: scalars on the device."""

    loss: jax.Array  # nats per token
    tokens: jax.Array  # targets the loss was taken over
    grad_norm: jax.Array  # before clipping
    learning_rate_share: jax.Array  # of the peak


Step = Callable[[TrainState, Batch, int], tuple[TrainState, Metrics]]


def update(
    config: Config,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    batch: Batch,
    num_steps: jax.Array,
) -> tuple[TrainState, Metrics]:
    """Makes one update of the parameters."""
    gradient = jax.value_and_grad(mean_loss, has_aux=True)
    (loss, tokens), grads = gradient(state.params, config.model, batch)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    share = schedule_share(config.optimizer, state.step, num_steps)
    params = jax.tree.map(lambda p, u: p + share * u, state.params, updates)
    metrics = Metrics(loss, tokens, optax.tree.norm(grads), share)
    return TrainState(state.step + 1, params, opt_state), metrics


def init_state(config: Config) -> TrainState:
    """Draws the parameters from the seed and starts the optimizer."""
    tokens = jnp.zeros((1, 2), jnp.int32)
    params = Decoder(config.model).init(jax.random.key(config.train.seed), tokens)["params"]
    opt_state = make_optimizer(config.optimizer, config.model).init(params)
    return TrainState(jnp.zeros((), jnp.int32), params, opt_state)


def state_shardings(config: Config, mesh: Mesh) -> TrainState:
    """Returns a TrainState of shardings: parameters and their moments by RULES, the rest replicated."""
    shardings = jax.tree.map(
        lambda p: named_sharding(mesh, p.axes), declare(config.model), is_leaf=is_parameter
    )
    replicated = NamedSharding(mesh, PartitionSpec())
    by_path = {_dict_keys(path): s for path, s in jax.tree.leaves_with_path(shardings)}

    def of_optimizer(path: tuple, _: jax.ShapeDtypeStruct) -> NamedSharding:
        """A moment stands under its parameter's path, below the optimizer's own keys."""
        keys = _dict_keys(path)
        suffixes = (keys[start:] for start in range(len(keys)))
        return next((by_path[s] for s in suffixes if s in by_path), replicated)

    abstract = jax.eval_shape(lambda: init_state(config))
    opt_shardings = jax.tree.map_with_path(of_optimizer, abstract.opt_state)
    return TrainState(replicated, shardings, opt_shardings)


def _dict_keys(path: tuple) -> tuple[str, ...]:
    return tuple(entry.key for entry in path if isinstance(entry, jax.tree_util.DictKey))


def abstract_state(config: Config, mesh: Mesh) -> TrainState:
    """Returns a TrainState of shapes, dtypes and shardings: the target that a checkpoint is read into."""
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        jax.eval_shape(lambda: init_state(config)),
        state_shardings(config, mesh),
    )


def compile_init(config: Config, mesh: Mesh) -> Callable[[], TrainState]:
    """Returns the jitted initialisation, which creates each shard where it lives."""
    return jax.jit(lambda: init_state(config), out_shardings=state_shardings(config, mesh))


def compile_step(config: Config, mesh: Mesh) -> Step:
    """Returns the jitted update, which consumes (donates) the state it is given.

    Its last argument is the number of steps of the whole run; a new value does not recompile.
    """
    optimizer = make_optimizer(config.optimizer, config.model)
    shardings = state_shardings(config, mesh)
    step = jax.jit(
        lambda state, batch, num_steps: update(config, optimizer, state, batch, num_steps),
        donate_argnums=0,
        out_shardings=(shardings, None),
    )

    def run(state: TrainState, batch: Batch, num_steps: int) -> tuple[TrainState, Metrics]:
        with jax.set_mesh(mesh):
            return step(state, batch, jnp.int32(num_steps))

    return run
