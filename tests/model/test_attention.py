"""Every implementation of attention gives what the reference gives, in outputs and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.tiny import packed_rows
from tinyjax.config import MeshConfig
from tinyjax.model.attention import BLOCK, attention
from tinyjax.parallel.sharding import make_mesh

pytestmark = pytest.mark.unoptimized


def random_inputs(rows: int, length: int, heads: int, kv_heads: int, head_dim: int = 8):
    """Returns queries, keys, values, and the weights of a scalar to differentiate."""
    rng = np.random.default_rng(length)
    return [
        rng.normal(size=(rows, length, count, head_dim)).astype(np.float32)
        for count in (heads, kv_heads, kv_heads, heads)
    ]


def outputs_and_gradients(implementation: str, q, k, v, weight, segments, local=True, **options):
    @jax.jit
    def run(q, k, v, segments, local):
        def scalar(q, k, v):
            out = attention(q, k, v, segments, implementation, local=local, **options)
            return jnp.sum(weight * out), out

        return jax.value_and_grad(scalar, (0, 1, 2), has_aux=True)(q, k, v)

    (_, out), gradients = run(q, k, v, segments, local)
    return [np.asarray(x) for x in (out, *gradients)]


def assert_same_as_reference(rows: int, length: int, heads: int, kv_heads: int, **options) -> None:
    inputs = random_inputs(rows, length, heads, kv_heads)
    segments = packed_rows(rows, length)["segments"]
    wanted = outputs_and_gradients("reference", *inputs, segments, **options)
    got = outputs_and_gradients("blockwise", *inputs, segments, **options)
    for name, a, b in zip(("out", "dq", "dk", "dv"), got, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    ("length", "heads", "kv_heads"),
    [(BLOCK, 2, 2), (2 * BLOCK + 7, 4, 2), (BLOCK + 1, 3, 1), (5, 2, 1)],
)
def test_blockwise_equals_reference(length: int, heads: int, kv_heads: int):
    assert_same_as_reference(2, length, heads, kv_heads)


@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize(
    ("window", "length", "heads", "kv_heads"),
    [
        (1, 2 * BLOCK, 2, 1),
        (7, BLOCK + 9, 3, 3),
        (BLOCK, 3 * BLOCK, 4, 2),
        (BLOCK + 1, 3 * BLOCK + 5, 2, 2),
        (2 * BLOCK + 3, 3 * BLOCK - 1, 2, 1),
        (500, 2 * BLOCK, 2, 2),
    ],
)
def test_blockwise_equals_reference_with_a_window(
    window: int, length: int, heads: int, kv_heads: int, local: bool
):
    """Whether the window counts (`local`) is known when it runs only."""
    assert_same_as_reference(2, length, heads, kv_heads, window=window, local=local, scale=0.7)


def test_blocks_before_the_window_are_skipped():
    """What stands there isn't even multiplied by 0."""
    q, k, v, _ = random_inputs(rows=1, length=4 * BLOCK, heads=1, kv_heads=1)
    v[:, :BLOCK] = np.nan
    segments = np.ones((1, 4 * BLOCK), np.int32)
    out = jax.jit(lambda *inputs: attention(*inputs, "blockwise", window=BLOCK))(q, k, v, segments)
    assert np.isfinite(out[:, 2 * BLOCK :]).all()
    assert np.isnan(out[:, : 2 * BLOCK - 1]).any()


@pytest.mark.slow
def test_blockwise_equals_reference_with_a_window_on_a_mesh(devices):
    with jax.set_mesh(make_mesh(MeshConfig(replica=2, fsdp=2, tensor=2), devices)):
        assert_same_as_reference(rows=4, length=BLOCK + 7, heads=4, kv_heads=2, window=9)


@pytest.mark.slow
def test_blockwise_equals_reference_on_a_mesh_that_splits_rows_and_heads(devices):
    with jax.set_mesh(make_mesh(MeshConfig(replica=2, fsdp=2, tensor=2), devices)):
        assert_same_as_reference(rows=4, length=BLOCK + 7, heads=4, kv_heads=2)


@pytest.mark.parametrize(
    ("scale", "window", "local"), [(None, None, True), (1.0, 4, True), (None, 1, True), (1.0, 4, False)]
)
def test_reference_equals_numpy_position_by_position(scale: float | None, window: int | None, local: bool):
    q, k, v, _ = random_inputs(rows=2, length=19, heads=4, kv_heads=2)
    segments = packed_rows(2, 19)["segments"]
    run = jax.jit(
        lambda local, *inputs: attention(*inputs, "reference", scale=scale, window=window, local=local)
    )
    out = run(local, q, k, v, segments)
    sees = window if window and local else 19
    wanted = np.zeros_like(q)
    for row, position, head in np.ndindex(2, 19, 4):
        near = range(max(0, position + 1 - sees), position + 1)
        seen = [s for s in near if segments[row, s] == segments[row, position]]
        scores = k[row, seen, head // 2] @ q[row, position, head] * (scale or 1 / np.sqrt(8))
        p = np.exp(scores - scores.max())
        wanted[row, position, head] = p / p.sum() @ v[row, seen, head // 2]
    np.testing.assert_allclose(out, wanted, rtol=1e-5, atol=1e-5)


def test_large_scores_stay_finite():
    q, k, v, _ = random_inputs(rows=1, length=BLOCK + 3, heads=2, kv_heads=1)
    segments = np.ones((1, BLOCK + 3), np.int32)
    run = jax.jit(attention, static_argnums=4)
    q, k = 1000 * q, 1000 * k
    np.testing.assert_allclose(
        run(q, k, v, segments, "blockwise"), run(q, k, v, segments, "reference"), atol=1e-4
    )
