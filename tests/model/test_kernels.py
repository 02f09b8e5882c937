"""Attention's kernels for TPUs, run by XLA, give what the reference gives, in outputs and gradients."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.tiny import packed_rows, tiny_model
from tinyjax.errors import UserError
from tinyjax.model import fused, splash
from tinyjax.model.attention import attention, choose
from tinyjax.model.decoder import REMAT
from tinyjax.model.loss import mean_loss
from tinyjax.model.parameters import declare, is_parameter

pytestmark = pytest.mark.unoptimized

CASES = [  # positions, query heads, key/value heads, head width, scale, window, local
    (128, 2, 2, 48, 1.0, 50, True),
    (128, 2, 2, 48, 1.0, 50, False),
    (384, 4, 2, 8, 0.3, None, True),
    (512, 2, 1, 128, 0.1, 130, True),
]


def with_gradients(function, q, k, v, weight, local):
    """Returns (output, dq, dk, dv) of a function of q, k, v and local."""

    def scalar(q, k, v):
        out = function(q, k, v, local)
        return jnp.sum(weight * out), out

    (_, out), gradients = jax.value_and_grad(scalar, (0, 1, 2), has_aux=True)(q, k, v)
    return out, *gradients


@pytest.mark.parametrize("kernels", [fused.fused, splash.splash])
@pytest.mark.parametrize(("length", "heads", "kv_heads", "head_dim", "scale", "window", "local"), CASES)
@pytest.mark.slow
def test_the_kernels_equal_the_reference(
    kernels,
    length: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    scale: float,
    window: int | None,
    local: bool,
):
    rng = np.random.default_rng(length)
    counts = (heads, kv_heads, kv_heads, heads)
    inputs = [rng.normal(size=(2, length, n, head_dim)).astype(np.float32) for n in counts]
    segments = jnp.asarray(packed_rows(2, length)["segments"])

    def of_kernels(q, k, v, local):
        return kernels(scale, window, q, k, v, segments, local, interpret=True)

    def of_reference(q, k, v, local):
        return attention(q, k, v, segments, "reference", scale=scale, window=window, local=local)

    run = jax.jit(with_gradients, static_argnums=0)
    got = run(of_kernels, *inputs, jnp.bool_(local))
    wanted = run(of_reference, *inputs, jnp.bool_(local))
    for name, a, b in zip(("out", "dq", "dk", "dv"), got, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("module", [fused, splash])
def test_lengths_that_the_kernels_cannot_take_are_told(module):
    assert module.refusal(512) is None
    assert module.refusal(500) == "500 positions aren't a multiple of 128"
    assert module.refusal(4096) == ("4096 positions are more than 2048" if module is fused else None)


@pytest.mark.parametrize(("remat", "runs"), [("block", 3), ("attention", 2), ("dots", 2)])
def test_remat_policies_know_the_kernels_results_by_name(remat: str, runs: int):
    """The forward kernel runs again in the backward pass only where its results aren't kept."""
    x, segments = jnp.ones((1, 128, 2, 8)), jnp.ones((1, 128), jnp.int32)

    def loss(x):
        return fused.fused(1.0, None, x, x, x, segments, jnp.bool_(True), interpret=True).sum()

    gradient = jax.grad(jax.checkpoint(loss, policy=REMAT[remat]))
    assert str(jax.make_jaxpr(gradient)(x)).count(" pallas_call[") == runs


def mesh_of(platform: str) -> jax.sharding.AbstractMesh:
    device = jax.sharding.AbstractDevice(device_kind="any", num_cores=1, platform=platform)
    return jax.sharding.AbstractMesh((1,), ("replica",), abstract_device=device)


@pytest.mark.parametrize(
    ("platform", "length", "chosen"),
    [
        ("cpu", 512, "blockwise"),
        ("gpu", 512, "reference"),
        ("tpu", 512, "fused"),
        ("tpu", 4096, "splash"),
        ("tpu", 500, "reference"),
    ],
)
def test_auto_goes_by_what_the_mesh_is_made_of(platform: str, length: int, chosen: str):
    """So what is compiled for a TPU on a machine without one is what a TPU would run."""
    with jax.sharding.use_abstract_mesh(mesh_of(platform)):
        assert choose("auto", length) == chosen


@pytest.mark.parametrize(
    ("implementation", "platform", "length", "said"),
    [
        ("fused", "cpu", 512, "'fused', but it runs on TPUs, not on 'cpu'; leave it at 'auto'"),
        ("splash", "tpu", 500, "'splash', but 500 positions aren't a multiple of 128"),
        ("fused", "tpu", 4096, "'fused', but 4096 positions are more than 2048"),
    ],
)
def test_kernels_that_cannot_be_had_are_refused(implementation: str, platform: str, length: int, said: str):
    with jax.sharding.use_abstract_mesh(mesh_of(platform)), pytest.raises(UserError, match=said):
        choose(implementation, length)


@pytest.mark.parametrize("family", ["llama", "gpt_neo"])
@pytest.mark.slow
def test_a_models_loss_and_gradients_are_the_same_with_kernels(family: str, monkeypatch: pytest.MonkeyPatch):
    """With windows in every second block, grouped heads, packed stories, and what remat keeps."""
    shape = {"family": family, "window": 40} if family == "gpt_neo" else {}
    model = tiny_model(context_length=128, remat="dots", **shape)
    params = jax.tree.map(lambda p: p.init(jax.random.key(0)), declare(model), is_leaf=is_parameter)
    batch = {name: jnp.asarray(rows) for name, rows in packed_rows(2, 128).items()}

    def loss(params: dict, implementation: str) -> jax.Array:
        return mean_loss(params, dataclasses.replace(model, attention=implementation), batch)[0]

    run = jax.jit(jax.value_and_grad(loss), static_argnums=1)
    wanted = run(params, "reference")
    monkeypatch.setattr("tinyjax.model.attention.platform", lambda: "tpu")
    monkeypatch.setattr(fused, "fused", functools.partial(fused.fused, interpret=True))
    got = run(params, "fused")
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
