"""Every implementation of attention gives what the reference gives, in outputs and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.tiny import packed_rows
from tinyjax.config import MeshConfig
from tinyjax.model.attention import BLOCK, attention
from tinyjax.parallel.sharding import make_mesh


def random_inputs(rows: int, length: int, heads: int, kv_heads: int, head_dim: int = 8):
    """Returns queries, keys, values, and the weights of a scalar to differentiate."""
    rng = np.random.default_rng(length)
    return [
        rng.normal(size=(rows, length, count, head_dim)).astype(np.float32)
        for count in (heads, kv_heads, kv_heads, heads)
    ]


def outputs_and_gradients(implementation: str, q, k, v, weight, segments):
    def scalar(q, k, v):
        out = attention(q, k, v, segments, implementation)
        return jnp.sum(weight * out), out

    (_, out), gradients = jax.jit(jax.value_and_grad(scalar, (0, 1, 2), has_aux=True))(q, k, v)
    return [np.asarray(x) for x in (out, *gradients)]


def assert_same_as_reference(rows: int, length: int, heads: int, kv_heads: int) -> None:
    inputs = random_inputs(rows, length, heads, kv_heads)
    segments = packed_rows(rows, length)["segments"]
    wanted = outputs_and_gradients("reference", *inputs, segments)
    got = outputs_and_gradients("blockwise", *inputs, segments)
    for name, a, b in zip(("out", "dq", "dk", "dv"), got, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    ("length", "heads", "kv_heads"),
    [(BLOCK, 2, 2), (2 * BLOCK + 7, 4, 2), (BLOCK + 1, 3, 1), (5, 2, 1)],
)
def test_blockwise_equals_reference(length: int, heads: int, kv_heads: int):
    assert_same_as_reference(2, length, heads, kv_heads)


@pytest.mark.slow
def test_blockwise_equals_reference_on_a_mesh_that_splits_rows_and_heads(devices):
    with jax.set_mesh(make_mesh(MeshConfig(replica=2, fsdp=2, tensor=2), devices)):
        assert_same_as_reference(rows=4, length=BLOCK + 7, heads=4, kv_heads=2)


def test_reference_equals_numpy_position_by_position():
    q, k, v, _ = random_inputs(rows=2, length=19, heads=4, kv_heads=2)
    segments = packed_rows(2, 19)["segments"]
    out = jax.jit(attention, static_argnums=4)(q, k, v, segments, "reference")
    wanted = np.zeros_like(q)
    for row, position, head in np.ndindex(2, 19, 4):
        seen = [s for s in range(position + 1) if segments[row, s] == segments[row, position]]
        scores = k[row, seen, head // 2] @ q[row, position, head] / np.sqrt(8)
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
