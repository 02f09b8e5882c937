"""The same function on every mesh: same losses, parameters sharded as declared, bad sizes refused.

Two slices are made of eight devices of one by `config.mesh.slices=2`.
"""

import dataclasses
import math

import jax
import numpy as np
import pytest
from jax.experimental import mesh_utils

from tests.tiny import VOCAB_SIZE, packed_rows, tiny_config
from tinyjax.config import Config, MeshConfig
from tinyjax.errors import UserError
from tinyjax.model.parameters import declare, is_parameter
from tinyjax.parallel.sharding import RULES, check_batch, check_divides, local_rows, make_mesh, put_batch
from tinyjax.train.step import TrainState, abstract_state, compile_init, compile_step

pytestmark = pytest.mark.unoptimized

ONE = MeshConfig()
MESHES = {
    "replica 8": MeshConfig(),
    "fsdp 8": MeshConfig(replica=1, fsdp=8),
    "replica 2, fsdp 2, tensor 2": MeshConfig(replica=2, fsdp=2, tensor=2),
    "fsdp 2, sequence 2, tensor 2": MeshConfig(replica=1, fsdp=2, sequence=2, tensor=2),
    "sequence 8": MeshConfig(replica=1, sequence=8),
    "replica 2, sequence 4": MeshConfig(replica=2, sequence=4),
    "two slices": MeshConfig(replica=2, fsdp=2, tensor=2, slices=2),
    "two slices by fsdp": MeshConfig(replica=1, fsdp=4, sequence=2, slices=2),
}
STEPS = 3
# The same sums in another order, in float32, through three updates; AdamW divides by small moments.
TOLERANCE = 2e-4


# What is trained: the llama family by two optimizers, and gpt_neo, in two micro-batches.
VARIANTS = {
    "adamw": {"model__qk_norm": True},
    "muon": {"model__qk_norm": True, "optimizer__name": "muon"},
    "gpt_neo": {"model__family": "gpt_neo", "model__window": 16, "train__accumulation": 2},
}


def step_config(variant: str, remat: str = "none") -> Config:
    fixed = {"model__remat": remat, "optimizer__warmup_steps": 1, "model__vocab_size": VOCAB_SIZE}
    return tiny_config(**(fixed | VARIANTS[variant]))


def run_steps(config: Config, mesh: jax.sharding.Mesh) -> tuple[list[float], TrainState]:
    """Returns the losses of a few steps on random batches, and the state after them."""
    state, step = compile_init(config, mesh)(), compile_step(config, mesh)
    losses = []
    for i in range(STEPS):
        batch = packed_rows(config.data.batch_size, config.model.context_length, seed=i)
        state, metrics = step(state, put_batch(mesh, batch), STEPS)
        losses.append(float(metrics.loss))
    return losses, state


@pytest.fixture(scope="module")
def on_one_device(devices) -> dict[str, list[float]]:
    mesh = make_mesh(ONE, devices[:1])
    return {variant: run_steps(step_config(variant), mesh)[0] for variant in VARIANTS}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "variant", "remat"),
    [
        ("replica 8", "adamw", "none"),
        ("fsdp 8", "muon", "none"),
        ("replica 2, fsdp 2, tensor 2", "adamw", "block"),
        ("replica 2, fsdp 2, tensor 2", "muon", "none"),
        ("fsdp 2, sequence 2, tensor 2", "adamw", "none"),
        ("fsdp 2, sequence 2, tensor 2", "muon", "block"),
        ("sequence 8", "adamw", "none"),
        ("replica 2, sequence 4", "adamw", "none"),
        ("two slices", "adamw", "none"),
        ("two slices by fsdp", "adamw", "block"),
        ("replica 2, fsdp 2, tensor 2", "gpt_neo", "block"),
        ("fsdp 2, sequence 2, tensor 2", "gpt_neo", "attention"),
    ],
)
def test_every_mesh_gives_the_losses_of_one_device(
    name: str, variant: str, remat: str, devices, on_one_device
):
    """On windows of several stories and padding, which reach over the shards of the sequence axis."""
    mesh = make_mesh(MESHES[name], devices)
    losses, state = run_steps(step_config(variant, remat), mesh)
    assert losses[2] < losses[0] + 1  # it did not blow up
    np.testing.assert_allclose(losses, on_one_device[variant], rtol=TOLERANCE)
    assert_sharded_as_declared(step_config(variant), mesh, state)


def assert_sharded_as_declared(config: Config, mesh: jax.sharding.Mesh, state: TrainState) -> None:
    """Each device holds its share of a parameter and of each of its moments, and no more."""
    declared = jax.tree.leaves_with_path(declare(config.model), is_leaf=is_parameter)
    params = dict(jax.tree.leaves_with_path(state.params))
    moments = jax.tree.leaves_with_path(state.opt_state)
    for path, parameter in declared:
        share = tuple(
            size // math.prod(mesh.shape[a] for a in (RULES[axis] if axis else ()))
            for size, axis in zip(parameter.shape, parameter.axes, strict=True)
        )
        arrays = [params[path]] + [x for p, x in moments if p[-len(path) :] == path]
        assert len(arrays) >= 2, path
        for array in arrays:
            assert {shard.data.shape for shard in array.addressable_shards} == {share}, path


@pytest.mark.parametrize(
    ("name", "embedding", "query", "down"),
    [
        ("replica 8", (320, 32), (2, 32, 4, 8), (2, 64, 32)),
        ("fsdp 8", (320, 4), (2, 4, 4, 8), (2, 64, 4)),
        ("replica 2, fsdp 2, tensor 2", (160, 16), (2, 16, 2, 8), (2, 32, 16)),
    ],
)
def test_the_shapes_that_a_device_holds(name: str, embedding: tuple, query: tuple, down: tuple, devices):
    """By hand: fsdp splits the residual stream's width, tensor the vocabulary, heads and hidden units."""
    config = step_config("adamw")
    target = abstract_state(config, make_mesh(MESHES[name], devices))
    held = jax.tree.map(lambda x: x.sharding.shard_shape(x.shape), target.params)
    assert held["embedding"] == embedding
    assert held["layers"]["query"] == query
    assert held["layers"]["down"] == down


def test_a_mesh_takes_what_is_left(devices):
    assert dict(make_mesh(MeshConfig(tensor=2), devices).shape) == {
        "replica": 4, "fsdp": 1, "sequence": 1, "tensor": 2
    }  # fmt: skip


@pytest.mark.parametrize("sizes", [{"replica": 3}, {"tensor": 3}, {"tensor": 16}, {"replica": 4, "fsdp": 4}])
def test_a_mesh_of_other_than_the_devices_is_refused(sizes: dict[str, int], devices):
    config = dataclasses.replace(MeshConfig(), **sizes)
    with pytest.raises(UserError, match=r"config\.mesh .*there are 8; choose sizes whose product is 8"):
        make_mesh(config, devices)


@dataclasses.dataclass(frozen=True)
class Device:
    """Stands for a device of a TPU slice."""

    id: int
    slice_index: int
    device_kind: str = "TPU v4 lite"
    platform: str = "none"
    process_index: int = 0


@pytest.mark.parametrize(
    ("config", "inner", "outer"),
    [
        (MeshConfig(replica=2, fsdp=2, tensor=2), (1, 2, 1, 2), (2, 1, 1, 1)),
        (MeshConfig(replica=-1, fsdp=2), (2, 2, 1, 1), (2, 1, 1, 1)),
        (MeshConfig(replica=1, fsdp=4, tensor=2), (1, 2, 1, 2), (1, 2, 1, 1)),
    ],
)
def test_slices_are_told_apart_by_replica_then_fsdp(config: MeshConfig, inner: tuple, outer: tuple):
    """As JAX lays out a mesh over a fast and a slow network."""
    told = [Device(i, slice_index=i % 2) for i in range(8)]
    expected = mesh_utils.create_hybrid_device_mesh(inner, outer, told)
    np.testing.assert_array_equal(make_mesh(config, told).devices, expected)
    # Devices that don't say so are cut into runs.
    plain = [Device(i, slice_index=0) for i in range(8)]
    cut = make_mesh(dataclasses.replace(config, slices=2), plain).devices
    expected = mesh_utils.create_hybrid_device_mesh(
        inner, outer, [dataclasses.replace(device, slice_index=device.id // 4) for device in plain]
    )
    assert [device.id for device in cut.flat] == [device.id for device in expected.flat]


def test_one_slice_is_the_plain_mesh(devices):
    config = MeshConfig(replica=2, fsdp=2, tensor=2)
    assert make_mesh(dataclasses.replace(config, slices=1), devices) == make_mesh(config, devices)
    assert make_mesh(config, devices).devices.flatten().tolist() == devices


def test_tensor_does_not_reach_over_slices(devices):
    with pytest.raises(UserError, match=r"2 slices, and sequence and tensor .*replica"):
        make_mesh(MeshConfig(replica=1, tensor=8, slices=2), devices)


def test_slices_that_are_not_there_are_refused(devices):
    with pytest.raises(UserError, match=r"config\.mesh\.slices is 3, but the 8 devices are in 1 slices of 8"):
        make_mesh(MeshConfig(slices=3), devices)
    uneven = [Device(i, slice_index=i // 6) for i in range(8)]
    with pytest.raises(UserError, match="8 devices are in 2 slices of 6, 2"):
        make_mesh(MeshConfig(), uneven)


@pytest.mark.parametrize(("size", "nearest"), [(1, 4), (5, 4), (7, 8), (9, 8), (4, None), (16, None)])
def test_a_batch_that_does_not_divide_is_refused_with_the_nearest(size: int, nearest: int | None, devices):
    mesh = make_mesh(MeshConfig(replica=2, fsdp=2, tensor=2), devices)
    if nearest is None:
        check_batch(mesh, size)
        return
    with pytest.raises(UserError, match=rf"batch_size {size} .*nearest size that does is {nearest}$"):
        check_batch(mesh, size)


def test_a_model_that_does_not_divide_is_refused_with_the_nearest(devices):
    mesh = make_mesh(MeshConfig(tensor=4), devices)
    check_divides(mesh, "config.model.num_heads", 8, "heads")
    with pytest.raises(UserError, match=r"config\.model\.num_heads 6 .* tensor; the nearest .* is 8"):
        check_divides(mesh, "config.model.num_heads", 6, "heads")


def test_a_batch_is_spread_over_the_data_axes(devices):
    mesh = make_mesh(MeshConfig(replica=2, fsdp=2, tensor=2), devices)
    rows = packed_rows(8, 16)
    batch = put_batch(mesh, rows)
    for name, array in batch.items():
        np.testing.assert_array_equal(array, rows[name])
        assert {shard.data.shape for shard in array.addressable_shards} == {(2, 16)}
    assert local_rows(mesh, 8) == slice(0, 8)
