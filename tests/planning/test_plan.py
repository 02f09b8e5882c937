"""Plans of real presets, compiled for TPUs that aren't there."""

import dataclasses
import functools
import importlib.util
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from configs import paper
from tests.tiny import tiny_config
from tinyjax.config import Config, MeshConfig, from_dict, resolve, to_dict
from tinyjax.errors import UserError
from tinyjax.model.flops import attention_flops, training_flops
from tinyjax.model.parameters import count
from tinyjax.parallel.sharding import make_mesh
from tinyjax.planning.compiling import _needed, compiled, complete, train_step
from tinyjax.planning.cost import Cost, cost, product_flops
from tinyjax.planning.hlo import parse
from tinyjax.planning.plan import Plan, make_plan, search_largest
from tinyjax.planning.target import Target, find_target
from tinyjax.planning.traffic import hbm_bytes

needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu isn't installed (the extra [tpu])"
)


@pytest.fixture(scope="session")
def v5e() -> Target:
    """Four v5e chips that aren't there."""
    return find_target("v5e:2x2")


def small(name: str = "1M", **mesh: int) -> Config:
    """A paper's preset with a batch of 16 in one part."""
    values = to_dict(paper.get_config(name))
    values["data"]["batch_size"], values["train"]["accumulation"] = 16, 1
    values["mesh"] |= mesh
    return resolve(from_dict(values))


@pytest.fixture(scope="session")
def plan(v5e: Target) -> Plan:
    """Of the paper's smallest model's training."""
    return make_plan(small(fsdp=2, tensor=2), v5e, 1000, ("train",))


@needs_libtpu
@pytest.mark.slow
def test_a_preset_is_planned_for_chips_that_are_not_there(plan: Plan):
    train = plan.steps["train"]
    assert isinstance(train, Cost)
    assert plan.fits
    assert plan.mesh == {"replica": 1, "fsdp": 2, "sequence": 1, "tensor": 2}
    assert plan.attention == "fused"
    assert train.kernels == 2  # forward and backward
    assert train.model_flops == training_flops(plan.config.model) * 16 * 512 / 4
    total = 4 * count(plan.config.model)["total"]
    assert total / 4 <= plan.parameter_bytes < total / 3  # norms are whole on each
    assert plan.optimizer_bytes == pytest.approx(2 * plan.parameter_bytes, rel=1e-3)
    memory = train.memory
    assert memory.donated >= plan.parameter_bytes + plan.optimizer_bytes
    assert memory.needed == pytest.approx(memory.arguments + memory.temporary, rel=0.01)  # updated in place
    # Parameters and optimizer are read and written at least once.
    assert train.hbm_bytes > 2 * memory.donated
    assert {"fsdp", "tensor"} <= {axis for c in train.collectives for axis in c.axes}
    assert plan.utilisation is not None
    assert 0 < plan.utilisation < 1
    assert plan.tokens_per_second == pytest.approx(16 * 512 / train.seconds)


def on_one(target: Target, function: Callable[..., jax.Array], *shapes: tuple[int, ...]) -> Any:
    """Compiles a function of bfloat16 arrays for one device."""
    mesh = make_mesh(MeshConfig(), target.devices[:1])
    at = jax.NamedSharding(mesh, jax.P())
    arrays = [jax.ShapeDtypeStruct(shape, jnp.bfloat16, sharding=at) for shape in shapes]
    return compiled(mesh, jax.jit(function), *arrays)


@needs_libtpu
@pytest.mark.slow
def test_the_counts_of_a_product_of_matrices_are_those_of_the_hand(v5e: Target):
    """[4096, 2048] x [2048, 8192] in bfloat16, on one chip."""
    product = on_one(v5e, jnp.matmul, (4096, 2048), (2048, 8192))
    found = cost(product, dataclasses.replace(v5e, num_chips=1), {"tensor": 1}, 0.0)
    assert found.compiled_flops == 2 * 4096 * 2048 * 8192
    assert found.hbm_bytes == 2 * (4096 * 2048 + 2048 * 8192 + 4096 * 8192)
    assert found.compute_seconds == pytest.approx(2 * 4096 * 2048 * 8192 / 197e12)
    assert found.hbm_seconds == pytest.approx(found.hbm_bytes / 819e9)
    assert found.collectives == []
    assert found.bound == "compute"


@needs_libtpu
@pytest.mark.slow
@pytest.mark.parametrize(
    ("sums", "shapes", "flops"),
    [
        ("bthk,bshk->bhts", ((6, 256, 4, 48), (6, 384, 4, 48)), 2 * 6 * 256 * 384 * 4 * 48),
        ("bhts,bshk->bthk", ((6, 4, 256, 384), (6, 384, 4, 48)), 2 * 6 * 256 * 384 * 4 * 48),
        ("bti,io->bto", ((6, 256, 512), (512, 384)), 2 * 6 * 256 * 512 * 384),
        ("bti,bto->io", ((6, 256, 512), (6, 256, 384)), 2 * 6 * 256 * 512 * 384),
    ],
)
def test_products_count_in_every_form_a_tpu_has_them(v5e: Target, sums: str, shapes: tuple, flops: int):
    program = parse(on_one(v5e, functools.partial(jnp.einsum, sums), *shapes).as_text())
    assert product_flops(program) == flops


@needs_libtpu
@pytest.mark.slow
def test_loops_are_counted_as_often_as_they_run_on_a_tpu(v5e: Target):
    """XLA's own count takes a loop's body once."""
    product = on_one(
        v5e, lambda x, w: jax.lax.scan(lambda x, w: (x @ w, None), x, w)[0], (4096, 4096), (6, 4096, 4096)
    )
    program = parse(product.as_text())
    assert product_flops(program) == 6 * 2 * 4096**3
    matrix = 2 * 4096**2
    assert hbm_bytes(program) >= 7 * matrix
    assert hbm_bytes(program) <= 6 * 3 * matrix + 2 * matrix


@pytest.mark.slow
def test_the_models_flops_are_what_xla_counts(devices: list[jax.Device]):
    """Of a program without loops, whose attention makes whole scores, those that are masked included."""
    config = complete(tiny_config(model__attention="reference", model__compute_dtype="float32"), 256)
    mesh = make_mesh(MeshConfig(), devices[:1])
    counted = product_flops(parse(train_step(config, mesh).as_text()))
    model, tokens = config.model, config.data.batch_size * config.model.context_length
    all_positions = 4.0 * model.num_layers * model.num_heads * model.head_dim * model.context_length
    wanted = tokens * (training_flops(model) + 3 * (all_positions - attention_flops(model)))
    assert counted == pytest.approx(wanted, rel=0.01)


@needs_libtpu
def test_what_does_not_fit_the_mesh_is_refused(v5e: Target):
    with pytest.raises(UserError, match="asks for 8 devices"):
        make_plan(small(replica=2, fsdp=4), v5e, 1000)
    config = from_dict(to_dict(small()) | {"data": to_dict(small())["data"] | {"batch_size": 18}})
    with pytest.raises(UserError, match=r"config\.data\.batch_size 18 does not divide over the 4 devices"):
        make_plan(config, v5e, 1000)


@pytest.mark.parametrize("start", [1, 3, 64, 1000])
@pytest.mark.parametrize("largest", [0, 1, 7, 100, 1000])
def test_the_search_finds_the_largest_that_fits_to_within_5_percent(largest: int, start: int):
    tries = []

    def holds(n: int) -> bool:
        tries.append(n)
        return n <= largest

    found = search_largest(holds, start)
    assert found <= largest
    assert largest - found <= max(0, largest // 20)
    assert len(tries) <= 16


def test_the_compilers_refusal_says_how_much_it_needs():
    assert _needed("Ran out of memory in memory space hbm. Used 20.50G of 15.75G hbm.") == 20.5 * 2**30
    message = (
        "total memory required for HLO temporaries (17.91G) exceeds available HBM (15.75G). HLO module: f."
    )
    assert _needed(message) == 17.91 * 2**30
    assert _needed("... used 512.0M of 256M ...") == 512 * 2**20
    assert _needed("no numbers here") is None
