"""What moves, by how much, and when."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.tiny import tiny_model
from tinyjax.config import OptimizerConfig
from tinyjax.model.parameters import abstract_params, declare, is_parameter
from tinyjax.train.optimizer import UNDECIDED, make_optimizer, schedule_share

MODEL = tiny_model()


def random_tree(seed: int, scale: float = 1.0) -> dict:
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda p: np.float32(scale * rng.normal(size=p.shape)), abstract_params(MODEL))


def first_update(config: OptimizerConfig, gradients: dict, params: dict) -> dict:
    """Returns what the first update adds to each parameter."""
    optimizer = make_optimizer(config, MODEL)

    @jax.jit
    def step(gradients, params):
        return optimizer.update(gradients, optimizer.init(params), params)[0]

    return jax.tree.map(np.asarray, step(gradients, params))


def by_role(tree: dict, *roles: str) -> dict[str, np.ndarray]:
    declared = jax.tree.leaves_with_path(declare(MODEL), is_leaf=is_parameter)
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


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_only_matrices_are_decayed(name: str):
    """Without a gradient, decay is all that moves: by -learning rate x decay x value."""
    config = OptimizerConfig(name=name, learning_rate=0.1, muon_learning_rate=0.3, weight_decay=0.5)
    params = random_tree(0)
    update = first_update(config, random_tree(1, scale=0.0), params)
    rate = 0.3 if name == "muon" else 0.1
    matrices = by_role(params, "matrix")
    for path, moved in by_role(update, "matrix").items():
        np.testing.assert_allclose(moved, -rate * 0.5 * matrices[path], rtol=1e-5, err_msg=path)
    for path, moved in by_role(update, "norm", "embedding").items():
        np.testing.assert_array_equal(moved, 0.0, err_msg=path)


def test_adamw_moves_everything_by_the_learning_rate_at_first():
    config = OptimizerConfig(learning_rate=0.1, weight_decay=0.0, clip_norm=1e9)
    gradients = random_tree(1)
    update = first_update(config, gradients, random_tree(0))
    for path, moved in by_role(update, "matrix", "norm", "embedding").items():
        gradient = by_role(gradients, "matrix", "norm", "embedding")[path]
        np.testing.assert_allclose(moved, -0.1 * np.sign(gradient), rtol=1e-3, err_msg=path)


def test_muon_orthogonalises_each_layers_matrices_and_nothing_else():
    """A matrix moves equally in all directions (singular values near each other); AdamW moves the rest.

    Here AdamW looks ahead too (Nesterov), so its first update is larger than the learning rate.
    """
    config = OptimizerConfig(name="muon", learning_rate=0.1, weight_decay=0.0, clip_norm=1e9)
    gradients = random_tree(1)
    update = first_update(config, gradients, random_tree(0))
    for path, moved in by_role(update, "norm", "embedding").items():
        gradient = by_role(gradients, "norm", "embedding")[path]
        size = abs(moved.flat[0])
        assert 0.1 <= size < 0.15
        np.testing.assert_allclose(moved, -size * np.sign(gradient), rtol=1e-3, err_msg=path)
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
