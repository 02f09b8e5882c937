"""The loss in chunks is the loss, and its [B, T, V] array is gone."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from tests.tiny import packed_rows, tiny_model
from tinyjax.config import MeshConfig, ModelConfig
from tinyjax.model.decoder import Decoder
from tinyjax.model.loss import chunked_sums, count_chunks, mean_loss, summed_loss, sums, token_nll
from tinyjax.model.parameters import declare
from tinyjax.parallel.sharding import make_mesh, named_sharding, put_batch

pytestmark = pytest.mark.unoptimized

LENGTH = 64
# float32 sums in another order: of a gradient, in units of its largest element.
TOLERANCE = 2e-6


def make_params(config: ModelConfig) -> dict:
    return jax.jit(Decoder(config).init)(jax.random.key(0), np.zeros((1, 2), np.int32))["params"]


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def gradient(params: dict, batch: dict, config: ModelConfig, chunk: int, z_loss: float = 0.0):
    """((objective, loss), gradients): means over the tokens that count."""

    def mean(params: dict):
        total = summed_loss(params, config, batch, chunk=chunk, z_loss=z_loss)
        return jax.tree.map(lambda x: x / jnp.maximum(batch["weights"].sum(), 1), tuple(total))

    return jax.value_and_grad(mean, has_aux=True)(params)


def defined_loss(params: dict, config: ModelConfig, batch: dict) -> jax.Array:
    return jax.jit(mean_loss, static_argnums=1)(params, config, batch)[0]


def assert_close(got, wanted, tolerance: float = TOLERANCE) -> None:
    def compare(a, b):
        a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max())

    jax.tree.map(compare, got, wanted)


@pytest.mark.parametrize("chunk", [1, 7, 16, 64])
def test_in_chunks_loss_and_gradients_are_the_same(chunk: int):
    config, batch = tiny_model(tie_embeddings=chunk != 7), packed_rows(4, LENGTH)
    params = make_params(config)
    assert_close(gradient(params, batch, config, chunk, 0.01), gradient(params, batch, config, 0, 0.01))


@pytest.mark.slow
@pytest.mark.parametrize(
    "sizes", [{"replica": 8}, {"replica": 2, "fsdp": 2, "tensor": 2}, {"fsdp": 2, "sequence": 2, "tensor": 2}]
)
def test_on_a_mesh_too(sizes: dict[str, int], devices):
    config, batch = tiny_model(), packed_rows(8, LENGTH)
    mesh = make_mesh(MeshConfig(**({"replica": 1} | sizes)), devices)
    params = make_params(config)
    sharded = jax.tree.map(
        lambda x, p: jax.device_put(x, named_sharding(mesh, p.axes)), params, declare(config)
    )
    with jax.set_mesh(mesh):
        got = gradient(sharded, put_batch(mesh, batch), config, 8, 0.01)
    assert_close(jax.device_get(got), gradient(params, batch, config, 0, 0.01))


def test_the_loss_is_that_of_its_definition():
    config, batch = tiny_model(), packed_rows(4, LENGTH)
    params = make_params(config)
    (objective, loss), _ = gradient(params, batch, config, 16)
    each_BT = jax.jit(token_nll, static_argnums=(0, 3))(config, params, batch, 16)
    assert_close(each_BT, jax.jit(token_nll, static_argnums=0)(config, params, batch))
    wanted = defined_loss(params, config, batch)
    assert float(loss) == float(objective) == pytest.approx(float(wanted), rel=1e-6)


def test_z_loss_is_the_mean_square_of_log_z_and_not_in_the_loss():
    config, batch = tiny_model(), packed_rows(4, LENGTH)
    params = make_params(config)
    (objective, loss), _ = gradient(params, batch, config, 16, 0.5)
    logits = Decoder(config).apply({"params": params}, batch["inputs"], batch["segments"])
    log_z = scipy.special.logsumexp(np.asarray(logits, np.float64), axis=-1)[batch["weights"] > 0]
    assert float(objective - loss) == pytest.approx(0.5 * np.mean(log_z**2), rel=1e-5)
    assert float(loss) == pytest.approx(float(defined_loss(params, config, batch)), rel=1e-6)


@pytest.mark.parametrize("chunk", [0, 16])
def test_what_does_not_count_changes_nothing(chunk: int):
    """Not even where no target counts at all."""
    config, batch = tiny_model(), packed_rows(4, LENGTH)
    params = make_params(config)
    other = batch | {"targets": np.where(batch["weights"] > 0, batch["targets"], 5)}
    assert_close(gradient(params, other, config, chunk, 0.1), gradient(params, batch, config, chunk, 0.1), 0)
    nothing = batch | {"weights": np.zeros_like(batch["weights"])}
    for x in jax.tree.leaves(gradient(params, nothing, config, chunk, 0.1)):
        assert not np.any(x)


# The quickstart's head: a batch of 4 windows of 512 positions, 128 wide, 2,048 pieces.
SHAPES = {"B": 4, "T": 512, "D": 128, "V": 2048}


def head_inputs(dtype: Any) -> tuple[jax.Array, ...]:
    B, T, D, V = SHAPES.values()
    rng = np.random.default_rng(0)
    head_VD = jnp.asarray(rng.normal(size=(V, D)) / np.sqrt(D), jnp.float32)
    hidden_BTD = jnp.asarray(rng.normal(size=(B, T, D)), dtype)
    return head_VD, hidden_BTD, jnp.asarray(rng.integers(0, V, (B, T))), jnp.ones((B, T), jnp.int32)


def whole_sums(head_VD, hidden_BTD, targets_BT, weights_BT):
    logits_BTV = jnp.einsum("btd,vd->btv", hidden_BTD, head_VD.astype(hidden_BTD.dtype))
    return sums(logits_BTV.astype(jnp.float32), targets_BT, weights_BT, 0.0)


def head_gradient(function):
    return jax.jit(jax.value_and_grad(function, (0, 1), has_aux=True))


def test_the_array_of_all_logits_is_gone():
    inputs = head_inputs(jnp.float32)
    whole_bytes = 4 * SHAPES["B"] * SHAPES["T"] * SHAPES["V"]
    compiled = [
        head_gradient(f).lower(*inputs).compile()
        for f in (whole_sums, functools.partial(chunked_sums, 64, 0.0))
    ]
    whole, chunked = (c.memory_analysis().temp_size_in_bytes for c in compiled)
    assert whole >= whole_bytes  # what is asked for below can fail
    assert chunked < whole_bytes / 2
    assert "4,512,2048]" in compiled[0].as_text()
    assert "4,512,2048]" not in compiled[1].as_text()


def test_bfloat16_products_are_summed_in_float32():
    """Nothing is rounded to bfloat16 but what goes into a product, and the gradient of bfloat16 inputs."""
    head_VD, hidden_BTD, targets_BT, weights_BT = inputs = head_inputs(jnp.bfloat16)
    (total, _), (dhead_VD, dhidden_BTD) = head_gradient(functools.partial(chunked_sums, 64, 0.0))(*inputs)
    assert (total.dtype, dhead_VD.dtype, dhidden_BTD.dtype) == (jnp.float32, jnp.float32, jnp.bfloat16)
    hidden_BTD, head_VD = (x.astype(jnp.bfloat16).astype(jnp.float32) for x in (hidden_BTD, head_VD))
    logits_BTV = jnp.einsum("btd,vd->btv", hidden_BTD, head_VD)
    (wanted, _), dlogits_BTV = jax.value_and_grad(sums, has_aux=True)(logits_BTV, targets_BT, weights_BT, 0.0)
    rounded_BTV = dlogits_BTV.astype(jnp.bfloat16).astype(jnp.float32)
    assert float(total) == pytest.approx(float(wanted), rel=1e-6)
    wanted_VD = jnp.einsum("btv,btd->vd", rounded_BTV, hidden_BTD)
    assert jnp.linalg.norm(dhead_VD - wanted_VD) < 1e-4 * jnp.linalg.norm(wanted_VD)


@pytest.mark.parametrize(
    ("length", "chunk", "parts"),
    [(512, 64, 8), (512, 100, 4), (512, 1000, 1), (60, 16, 4), (61, 16, 1), (8, 1, 8)],
)
def test_a_window_is_cut_as_near_as_it_divides(length: int, chunk: int, parts: int):
    assert count_chunks(length, chunk) == parts
