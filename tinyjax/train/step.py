"""The training step: loss, gradients, update: one jitted function over the mesh."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tinyjax.config import Config, ModelConfig, TrainConfig
from tinyjax.model.decoder import Decoder
from tinyjax.model.loss import Batch, summed_loss
from tinyjax.model.parameters import declare, is_parameter
from tinyjax.parallel.sharding import check_divides, constrain, named_sharding
from tinyjax.train.optimizer import make_optimizer, schedule_share
from tinyjax.train.statistics import only_where, statistics

MEAN_OVER = 100  # updates that the guard's mean of gradient norms looks back
DROPOUT = 1  # purpose of a key, folded into the seed's


class Guard(NamedTuple):
    """What a bad update is told by; there only where config.train.max_skipped is set."""

    grad_norm: Any  # float32, mean over the latest updates made
    updates: Any  # int32, how many those are
    skipped: Any  # int32, updates in a row that were not made


class TrainState(NamedTuple):
    """Everything a step changes, and a checkpoint holds; also the tree of its shapes, or of its shardings."""

    step: Any  # int32, updates made or skipped so far
    params: dict
    opt_state: optax.OptState
    ema: Any = None  # moving average of params, where config.train.ema_decay is set
    guard: Any = None  # Guard

    @property
    def best_params(self) -> dict:
        """The parameters to evaluate: their average where there is one."""
        return self.params if self.ema is None else self.ema

    def items(self) -> dict[str, Any]:
        """Returns what is there, by the names of a checkpoint's items; the step is in its metadata."""
        return {name: x for name, x in self._asdict().items() if name != "step" and x is not None}


class Metrics(NamedTuple):
    """What a step reports: scalars on the device."""

    loss: jax.Array  # nats per token, without the z-loss
    tokens: jax.Array  # targets the loss was taken over
    grad_norm: jax.Array  # before clipping
    learning_rate_share: jax.Array  # of the peak
    skipped: Any = None  # int32, updates in a row that the guard skipped, this one included
    statistics: Any = None  # of the update as proposed; zeros but every config.train.statistics_every steps


Step = Callable[[TrainState, Batch, int], tuple[TrainState, Metrics]]


def update(
    config: Config,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    batch: Batch,
    num_steps: jax.Array,
) -> tuple[TrainState, Metrics]:
    """Makes one update of the parameters; the guard may keep them as they are."""
    loss, tokens, grads = gradients(config, state.params, batch, state.step)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    share = schedule_share(config.optimizer, state.step, num_steps)
    change = jax.tree.map(lambda u: share * u, updates)
    params = jax.tree.map(jnp.add, state.params, change)
    ema = average(config.train.ema_decay, state.ema, params, state.step)
    new = TrainState(state.step + 1, params, opt_state, ema)
    metrics = Metrics(loss, tokens, optax.tree.norm(grads), share)
    if every := config.train.statistics_every:
        found = only_where(
            new.step % every == 0, lambda: statistics(config.model, state.params, grads, change)
        )
        metrics = metrics._replace(statistics=found)
    return (new, metrics) if state.guard is None else guarded(config.train, state, new, metrics)


def gradients(
    config: Config, params: dict, batch: Batch, step: jax.Array
) -> tuple[jax.Array, jax.Array, dict]:
    """Returns the mean loss over the tokens that count, their number, and the gradients, float32.

    A micro-batch adds its share of the mean over all tokens: it doesn't matter how they are dealt out.
    """
    train, micro_batches = config.train, split_rows(batch, config.train.accumulation)
    tokens = jnp.sum(batch["weights"])

    def mean_over_all(params: dict, rows: Batch, key: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        total = summed_loss(
            params, config.model, rows, chunk=train.loss_chunk, z_loss=train.z_loss, dropout_key=key
        )
        return total.objective / jnp.maximum(tokens, 1), total.nll / jnp.maximum(tokens, 1)

    def add(sums: tuple[jax.Array, dict], x: tuple[Batch, jax.Array | None]) -> tuple[tuple, None]:
        (_, loss), grads = jax.value_and_grad(mean_over_all, has_aux=True)(params, *x)
        return jax.tree.map(jnp.add, sums, (loss, _as_declared(grads, config.model))), None

    zeros = (jnp.float32(0), _as_declared(jax.tree.map(jnp.zeros_like, params), config.model))
    (loss, grads), _ = jax.lax.scan(
        add, zeros, (micro_batches, _dropout_keys(config, step)), unroll=train.accumulation == 1
    )
    return loss, tokens, grads


def split_rows(batch: Batch, parts: int) -> Batch:
    """Cuts [B, T] into [parts, B / parts, T]; devices keep their rows, so a part takes every parts-th."""
    return {
        name: constrain(x.reshape(-1, parts, x.shape[1]).swapaxes(0, 1), (None, "batch", "position"))
        for name, x in batch.items()
    }


def _as_declared(tree: dict, model: ModelConfig) -> dict:
    """Shards a tree like the parameters."""
    return jax.tree.map(lambda x, p: constrain(x, p.axes), tree, declare(model))


def _dropout_keys(config: Config, step: jax.Array) -> jax.Array | None:
    """Returns a key for each micro-batch, from seed and step; None without dropout."""
    if not config.model.dropout:
        return None
    key = jax.random.fold_in(jax.random.key(config.train.seed), DROPOUT)
    return jax.random.split(jax.random.fold_in(key, step), config.train.accumulation)


def average(decay: float, ema: dict | None, params: dict, step: jax.Array) -> dict | None:
    """Moves the average towards the parameters; the first of them replace it, so that none is of step 0."""
    if ema is None:
        return None
    kept = jnp.minimum(decay, step / (step + 10))
    return jax.tree.map(lambda e, p: kept * e + (1 - kept) * p, ema, params)


def guarded(
    train: TrainConfig, state: TrainState, new: TrainState, metrics: Metrics
) -> tuple[TrainState, Metrics]:
    """Returns `new`, or, where the update is bad, the next step with all else as it was."""
    size = metrics.loss + metrics.grad_norm + optax.tree.norm(new.params)  # finite where all three are
    guard = judge(train.spike_factor, state.guard, metrics.grad_norm, jnp.isfinite(size))
    made, before = guard.skipped == 0, state._replace(step=new.step, guard=None)
    kept = jax.tree.map(lambda after, before: jnp.where(made, after, before), new, before)
    return kept._replace(guard=guard), metrics._replace(skipped=guard.skipped)


def judge(spike_factor: float, guard: Guard, grad_norm: jax.Array, finite: jax.Array) -> Guard:
    """Returns the guard after an update, which is bad where it isn't finite or its gradients are a spike."""
    spike = (guard.updates > 0) & (grad_norm > spike_factor * guard.grad_norm) if spike_factor else False
    updates = jnp.minimum(guard.updates + 1, MEAN_OVER)
    mean = guard.grad_norm + (grad_norm - guard.grad_norm) / updates
    made, skipped = Guard(mean, updates, jnp.int32(0)), guard._replace(skipped=guard.skipped + 1)
    return jax.tree.map(lambda m, s: jnp.where(finite & ~jnp.bool_(spike), m, s), made, skipped)


def init_state(config: Config) -> TrainState:
    """Draws the parameters from the seed and starts the optimizer."""
    tokens = jnp.zeros((1, 2), jnp.int32)
    params = Decoder(config.model).init(jax.random.key(config.train.seed), tokens)["params"]
    opt_state = make_optimizer(config.optimizer, config.model).init(params)
    ema = jax.tree.map(jnp.copy, params) if config.train.ema_decay else None
    zero = jnp.zeros((), jnp.int32)
    guard = Guard(jnp.float32(0), zero, zero) if config.train.max_skipped else None
    return TrainState(zero, params, opt_state, ema, guard)


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
    ema = shardings if abstract.ema is not None else None
    return TrainState(
        replicated, shardings, opt_shardings, ema, jax.tree.map(lambda _: replicated, abstract.guard)
    )


def _dict_keys(path: tuple) -> tuple[str, ...]:
    return tuple(entry.key for entry in path if isinstance(entry, jax.tree_util.DictKey))


def abstract_state(config: Config, mesh: Mesh) -> TrainState:
    """Returns a TrainState of shapes, dtypes and shardings: the target that a checkpoint is read into."""
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        jax.eval_shape(lambda: init_state(config)),
        state_shardings(config, mesh),
    )


def check_micro_batches(config: Config, mesh: Mesh) -> None:
    """Raises UserError if a micro-batch does not divide over the mesh."""
    size, parts = config.data.batch_size, config.train.accumulation
    if parts > 1:
        check_divides(
            mesh,
            f"config.data.batch_size {size} / config.train.accumulation {parts} =",
            size // parts,
            "batch",
        )


def compile_init(config: Config, mesh: Mesh) -> Callable[[], TrainState]:
    """Returns the jitted initialisation, which creates each shard where it lives."""
    return jax.jit(lambda: init_state(config), out_shardings=state_shardings(config, mesh))


def jit_step(config: Config, mesh: Mesh) -> Any:
    """Returns the jitted update (state, batch, num_steps), to be called under `jax.set_mesh(mesh)`."""
    optimizer = make_optimizer(config.optimizer, config.model)
    return jax.jit(
        lambda state, batch, num_steps: update(config, optimizer, state, batch, num_steps),
        donate_argnums=0,
        out_shardings=(state_shardings(config, mesh), None),
    )


def compile_step(config: Config, mesh: Mesh) -> Step:
    """Returns the jitted update, which consumes (donates) the state it is given.

    Its last argument is the number of steps of the whole run; a new value does not recompile.

    Raises:
      UserError: the micro-batches don't divide over the mesh.
    """
    check_micro_batches(config, mesh)
    step = jit_step(config, mesh)

    def run(state: TrainState, batch: Batch, num_steps: int) -> tuple[TrainState, Metrics]:
        with jax.set_mesh(mesh):
            return step(state, batch, jnp.int32(num_steps))

    return run
