"""What moves, by how much, and when."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.tiny import VOCAB_SIZE, packed_rows, tiny_config, tiny_model
from tinyjax.config import Config, MeshConfig, ModelConfig, OptimizerConfig
from tinyjax.errors import UserError
from tinyjax.model.parameters import abstract_params, declare, is_parameter
from tinyjax.parallel.sharding import make_mesh, put_batch
from tinyjax.train.optimizer import UNDECIDED, make_optimizer, schedule_share
from tinyjax.train.step import TrainState, compile_init, compile_step

pytestmark = pytest.mark.unoptimized

MODEL = tiny_model(qk_norm=True)
MODELS = {"llama": MODEL, "gpt_neo": tiny_model(family="gpt_neo", num_kv_heads=4)}
OPTIMIZERS = ("adamw", "muon", "adafactor", "lion")
SCHEDULES = ("wsd", "constant", "cosine", "linear", "rsqrt")


def random_tree(seed: int, scale: float = 1.0, model: ModelConfig = MODEL) -> dict:
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda p: np.float32(scale * rng.normal(size=p.shape)), abstract_params(model))


def first_update(config: OptimizerConfig, gradients: dict, params: dict, model: ModelConfig = MODEL) -> dict:
    """Returns what the first update adds to each parameter."""
    optimizer = make_optimizer(config, model)

    @jax.jit
    def step(gradients, params):
        return optimizer.update(gradients, optimizer.init(params), params)[0]

    return jax.tree.map(np.asarray, step(gradients, params))


def by_role(tree: dict, *roles: str, model: ModelConfig = MODEL) -> dict[str, np.ndarray]:
    declared = jax.tree.leaves_with_path(declare(model), is_leaf=is_parameter)
    leaves = dict(jax.tree.leaves_with_path(tree))
    return {jax.tree_util.keystr(path): leaves[path] for path, p in declared if p.role in roles}


@pytest.mark.parametrize(
    ("step", "share"),
    [
        (0, 0.1), (4, 0.5), (9, 1.0),  # warm-up over 10 updates
        (10, 1.0), (59, 1.0), (60, 1.0),  # stable
        (70, 0.75 + 0.25 * 0.2), (80, 0.5 + 0.5 * 0.2), (99, 0.025 + 0.975 * 0.2),  # decay over 40
    ],
)  # fmt: skip
def test_the_schedule_warms_up_stays_and_decays(step: int, share: float):
    config = OptimizerConfig(warmup_steps=10, decay_share=0.4, final_share=0.2)
    assert float(schedule_share(config, jnp.int32(step), 100)) == pytest.approx(share, rel=1e-6)


def test_the_schedule_is_stable_while_the_end_is_undecided():
    config = OptimizerConfig(warmup_steps=10)
    for step in (10, 1000, 1_000_000):
        assert float(schedule_share(config, jnp.int32(step), UNDECIDED)) == 1.0


def test_without_warmup_the_first_update_is_whole():
    assert float(schedule_share(OptimizerConfig(warmup_steps=0), jnp.int32(0), 100)) == 1.0


def share_by_numpy(config: OptimizerConfig, step: int, num_steps: int) -> float:
    """The schedules as their papers write them, in float64."""
    warmup, end, final = config.warmup_steps, num_steps, config.final_share
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / (end - warmup)
    decayed = max(0.0, 1 - (end - step) / (config.decay_share * end))  # share of the decay that is over
    falls = {
        "wsd": np.sqrt(decayed) if config.decay_shape == "sqrt" else decayed,
        "constant": 0.0,
        "cosine": 1 - (1 + np.cos(np.pi * done)) / 2,
        "linear": done,
    }
    if config.schedule == "rsqrt":
        return max(np.sqrt(warmup / (step + 1)), final)
    return 1 - (1 - final) * falls[config.schedule]


@functools.partial(jax.jit, static_argnums=(0, 1))
def shares(config: OptimizerConfig, count: int, num_steps: int) -> jax.Array:
    return jax.vmap(lambda step: schedule_share(config, step, num_steps))(jnp.arange(count))


@pytest.mark.parametrize("schedule", [*SCHEDULES, "wsd by sqrt"])
@pytest.mark.parametrize("final", [0.0, 0.2])
def test_every_schedule_is_as_published_and_only_falls_after_the_warmup(schedule: str, final: float):
    name, _, shape = schedule.partition(" by ")
    config = OptimizerConfig(
        schedule=name, warmup_steps=10, decay_share=0.4, decay_shape=shape or "linear", final_share=final
    )
    found = np.asarray(shares(config, 200, 200))
    np.testing.assert_allclose(found, [share_by_numpy(config, i, 200) for i in range(200)], atol=2e-6)
    assert np.all(np.diff(found[:10]) > 0)
    assert np.all(np.diff(found[9:]) <= 0)
    assert found.max() == 1.0
    if name not in ("constant", "rsqrt"):  # the update after the last would be the first at final_share
        assert final < found[-1] < final + 0.08


@pytest.mark.parametrize("schedule", ["wsd", "constant", "rsqrt"])
def test_these_schedules_need_no_end(schedule: str):
    """While the clock has not decided it they give what they give far from it."""
    config = OptimizerConfig(schedule=schedule, warmup_steps=10)
    far = 10_000_000
    np.testing.assert_array_equal(shares(config, 1000, UNDECIDED), shares(config, 1000, far))
    tiny_config(optimizer__schedule=schedule, train__num_steps=0, train__minutes=1.0)


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_schedules_that_need_the_end_are_refused_with_the_clock(schedule: str):
    with pytest.raises(UserError, match=rf"optimizer\.schedule is '{schedule}'.*train\.minutes.*'wsd'"):
        tiny_config(optimizer__schedule=schedule, train__num_steps=0, train__minutes=1.0)
    tiny_config(optimizer__schedule=schedule, train__num_steps=0, train__num_epochs=1.0)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_warmup_longer_than_the_run_is_cut_off(schedule: str):
    found = np.asarray(shares(OptimizerConfig(schedule=schedule, warmup_steps=100), 10, 10))
    assert np.all((found > 0) & (found <= 0.1))


@pytest.mark.parametrize("family", MODELS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_only_matrices_are_decayed(name: str, family: str):
    """Without a gradient, decay is all that moves: by -learning rate x decay x value."""
    config = OptimizerConfig(name=name, learning_rate=0.1, muon_learning_rate=0.3, weight_decay=0.5)
    model = MODELS[family]
    params = random_tree(0, model=model)
    update = first_update(config, random_tree(1, scale=0.0, model=model), params, model)
    rate = 0.3 if name == "muon" else 0.1
    matrices = by_role(params, "matrix", model=model)
    for path, moved in by_role(update, "matrix", model=model).items():
        np.testing.assert_allclose(moved, -rate * 0.5 * matrices[path], rtol=1e-5, err_msg=path)
    others = by_role(update, "norm", "bias", "embedding", model=model)
    assert len(matrices) + len(others) == len(jax.tree.leaves(update))
    for path, moved in others.items():
        np.testing.assert_array_equal(moved, 0.0, err_msg=path)


@pytest.mark.parametrize("family", MODELS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_everything_is_moved_against_its_gradient_by_the_learning_rate(name: str, family: str):
    """Each element at first, as these begin by signs; Muon's matrices apart.

    Muon's Adam looks ahead (Nesterov): by 0.1 + 0.9 x 0.1 / (1 - 0.9**2) of the gradient for 0.1.
    """
    config = OptimizerConfig(
        name=name, learning_rate=0.1, muon_learning_rate=0.1, weight_decay=0.0, clip_norm=1e9
    )
    model = MODELS[family]
    gradients = random_tree(1, model=model)
    update = first_update(config, gradients, random_tree(0, model=model), model)
    signs = ("norm", "bias", "embedding") if name == "muon" else ("norm", "bias", "embedding", "matrix")
    assert all(np.all(moved != 0) for moved in jax.tree.leaves(update))
    for path, moved in by_role(update, *signs, model=model).items():
        gradient = by_role(gradients, *signs, model=model)[path]
        size = 0.1 + 0.09 * 0.1 / 0.19 if name == "muon" else 0.1
        np.testing.assert_allclose(moved, -size * np.sign(gradient), rtol=1e-3, err_msg=path)


def test_muon_orthogonalises_each_layers_matrices():
    """A matrix moves equally in all directions: singular values near each other."""
    config = OptimizerConfig(name="muon", learning_rate=0.1, weight_decay=0.0, clip_norm=1e9)
    gradients = random_tree(1)
    update = first_update(config, gradients, random_tree(0))
    declared = declare(MODEL)["layers"]
    for name, parameter in declared.items():
        if parameter.role != "matrix":
            continue
        fan_in = int(np.prod([parameter.shape[i] for i in parameter.inputs]))
        for layer in range(MODEL.num_layers):
            moved, gradient = (t["layers"][name][layer].reshape(fan_in, -1) for t in (update, gradients))
            assert spread(moved) < 0.25 < spread(gradient), name
            assert np.vdot(moved, gradient) < 0, name


def spread(matrix: np.ndarray) -> float:
    """How unequal the singular values are, but for the smallest tenth, which five iterations don't lift."""
    values = np.linalg.svd(matrix, compute_uv=False)
    values = values[: -(-len(values) * 9 // 10)]
    return float(values.std() / values.mean())


def test_gradients_are_clipped_to_the_global_norm():
    """AdamW forgets a gradient's size but for epsilon, so what is clipped is looked at before it."""
    config = OptimizerConfig(clip_norm=0.5)
    optimizer, params = make_optimizer(config, MODEL), random_tree(0)
    state = optimizer.init(params)
    for scale, norm in ((10.0, 0.5), (1e-4, None)):
        gradients = random_tree(1, scale)
        _, after = jax.jit(optimizer.update)(gradients, state, params)
        first_moment = optax.tree.get(after, "mu")
        wanted = 0.1 * (norm or float(optax.tree.norm(gradients)))  # the moment takes 1 - beta1 of it
        assert float(optax.tree.norm(first_moment)) == pytest.approx(wanted, rel=1e-4)


# Wide enough for factored moments: inputs x outputs is 128 x 128, whatever the heads.
WIDE = tiny_model(d_model=128, head_dim=32, num_kv_heads=4, d_ff=192)


def factored_by_numpy(gradients: list[np.ndarray]) -> np.ndarray:
    """The direction after several gradients [I, O], without momentum (Shazeer & Stern 2018, algorithm 4)."""
    row_I, column_O = np.zeros(gradients[0].shape[0]), np.zeros(gradients[0].shape[1])
    direction = np.zeros_like(gradients[0])
    for t, gradient in enumerate(gradients, start=1):
        kept, squared = 1 - t**-0.8, np.float64(gradient) ** 2 + 1e-30
        row_I = kept * row_I + (1 - kept) * squared.mean(1)
        column_O = kept * column_O + (1 - kept) * squared.mean(0)
        direction = gradient / np.sqrt(np.outer(row_I, column_O) / row_I.mean())
    return direction


def test_adafactor_factors_the_moments_of_inputs_by_outputs():
    config = OptimizerConfig(name="adafactor", learning_rate=1.0, weight_decay=0.0, clip_norm=1e9, beta1=0.0)
    optimizer, params = make_optimizer(config, WIDE), random_tree(0, model=WIDE)
    state, gradients, update = optimizer.init(params), [random_tree(i, model=WIDE) for i in (1, 2, 3)], {}
    step = jax.jit(optimizer.update)
    for gradient in gradients:
        update, state = step(gradient, state, params)
    for name, fan_in in {"query": 128, "output": 128, "down": 192}.items():
        stacked = [g["layers"][name].reshape(WIDE.num_layers, fan_in, -1) for g in gradients]
        found = np.asarray(update["layers"][name]).reshape(stacked[0].shape)
        wanted = np.stack([factored_by_numpy([g[i] for g in stacked]) for i in range(WIDE.num_layers)])
        wanted /= max(1.0, np.sqrt(np.mean(wanted**2)))
        np.testing.assert_allclose(found, -wanted, rtol=1e-4, err_msg=name)


@pytest.mark.parametrize(("beta1", "moments"), [(0.9, 1.02), (0.0, 0.02)])
def test_adafactor_holds_a_moment_and_little_more(beta1: float, moments: float):
    """In parameters of its own size, where AdamW holds 2."""
    optimizer = make_optimizer(OptimizerConfig(name="adafactor", beta1=beta1), WIDE)
    params = abstract_params(WIDE)
    held = jax.eval_shape(optimizer.init, params)
    sizes = [sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree)) for tree in (held, params)]
    assert moments - 0.02 < sizes[0] / sizes[1] <= moments


def run_config(name: str) -> Config:
    """Learning rates at which a few updates show: Lion's a fifth of the others'."""
    return tiny_config(
        optimizer__name=name,
        optimizer__warmup_steps=2,
        optimizer__learning_rate=0.002 if name == "lion" else 0.01,
        model__vocab_size=VOCAB_SIZE,
        **{f"model__{key}": getattr(WIDE, key) for key in ("d_model", "head_dim", "num_kv_heads", "d_ff")},
    )


def run_steps(config: Config, mesh: jax.sharding.Mesh, steps: int) -> tuple[list[float], TrainState]:
    """Returns the losses on one batch, and the state after them."""
    state, step = compile_init(config, mesh)(), compile_step(config, mesh)
    batch, losses = put_batch(mesh, packed_rows(8, config.model.context_length)), []
    for _ in range(steps):
        state, metrics = step(state, batch, steps)
        losses.append(float(metrics.loss))
    return losses, state


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_trains(name: str):
    config = run_config(name)
    mesh = make_mesh(config.mesh, jax.devices()[:1])
    initial = compile_init(config, mesh)().params
    losses, state = run_steps(config, mesh, 20)
    assert losses[-1] < losses[0] - 1, losses
    for (path, before), after in zip(
        jax.tree.leaves_with_path(initial), jax.tree.leaves(state.params), strict=True
    ):
        assert np.mean(np.asarray(before) != np.asarray(after)) > 0.3, path  # not every token was there


@pytest.mark.slow
@pytest.mark.parametrize("mesh_config", [MeshConfig(replica=1, fsdp=8), MeshConfig(2, 2, 1, 2)], ids=str)
@pytest.mark.parametrize("name", ["adafactor", "lion"])
def test_on_eight_devices_as_on_one(name: str, mesh_config: MeshConfig, devices):
    """The same losses; momentum is divided as the parameters are, Adafactor's rows and columns are not."""
    config = run_config(name)
    alone, _ = run_steps(config, make_mesh(MeshConfig(), devices[:1]), 4)
    mesh = make_mesh(mesh_config, devices)
    losses, state = run_steps(config, mesh, 4)
    np.testing.assert_allclose(losses, alone, rtol=2e-4)
    momentum = optax.tree.get(state.opt_state, "mu" if name == "lion" else "ema")
    for moment, parameter in zip(jax.tree.leaves(momentum), jax.tree.leaves(state.params), strict=True):
        assert moment.sharding == parameter.sharding
    if name == "adafactor":
        rows = optax.tree.get(state.opt_state, "v_row")
        assert rows["of_layers_query"].shape == (2, 128)
        assert all(row.sharding.is_fully_replicated for row in rows.values())
