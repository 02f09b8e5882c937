"""What each device holds is told row by row, and too much that is whole everywhere is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from tests.parallel.test_sharding import MESHES, step_config
from tinyjax.errors import UserError
from tinyjax.parallel.layout import check_sharded, device_bytes, layout, size, table
from tinyjax.parallel.sharding import make_mesh, named_sharding
from tinyjax.train.step import abstract_state, compile_init

pytestmark = pytest.mark.unoptimized


def placed(mesh: jax.sharding.Mesh, **arrays: tuple[tuple[int, ...], tuple[str | None, ...]]) -> list:
    tree = {
        name: jax.ShapeDtypeStruct(shape, jnp.float32, sharding=named_sharding(mesh, axes))
        for name, (shape, axes) in arrays.items()
    }
    return layout(tree)


def test_a_row_says_shape_axes_and_bytes(devices):
    """By hand: 320 x 32 float32 over tensor 2 and fsdp 2 is a quarter of 40,960 bytes."""
    mesh = make_mesh(MESHES["replica 2, fsdp 2, tensor 2"], devices)
    (row,) = placed(mesh, embedding=((320, 32), ("vocab", "embed")))
    assert dataclasses.astuple(row) == ("embedding", (320, 32), ("tensor", "fsdp"), 40_960, 10_240)
    (row,) = placed(mesh, batch=((8, 64), ("batch", None)))
    assert row.spec == ("replica+fsdp", "-")


def test_axes_of_size_one_shard_nothing(devices):
    (row,) = placed(make_mesh(MESHES["replica 8"], devices), embedding=((320, 32), ("vocab", "embed")))
    assert row.spec == ("-", "-")
    assert row.is_whole


@pytest.mark.parametrize("name", MESHES)
def test_the_total_is_what_a_device_really_holds(name: str, devices):
    config, mesh = step_config("adamw"), make_mesh(MESHES[name], devices)
    rows = layout(abstract_state(config, mesh).params)
    params = compile_init(config, mesh)().params
    held = sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(params))
    assert device_bytes(rows) == held
    assert {row.name for row in rows} >= {"embedding", "layers/query", "final_norm"}


def test_the_table_has_a_line_for_each(devices):
    mesh = make_mesh(MESHES["replica 2, fsdp 2, tensor 2"], devices)
    rows = placed(mesh, down=((2, 64, 32), ("layers", "hidden", "embed")), norm=((32,), (None,)))
    assert table(rows) == [
        "  parameter  shape    sharded over     per device",
        "  down       2x64x32  -, tensor, fsdp      4.1 kB",
        "  norm       32       -                     128 B",
    ]


def test_too_much_that_is_whole_is_refused_with_the_largest(devices):
    mesh = make_mesh(MESHES["fsdp 8"], devices)
    rows = placed(
        mesh,
        forgotten=((1000, 32), (None, None)),
        small=((32,), (None,)),
        query=((32, 1000), ("embed", None)),
    )
    with pytest.raises(UserError, match=r"50% of the .* \(forgotten 128 kB, small 128 B\).*max_unsharded"):
        check_sharded(mesh, rows, 0.1)
    check_sharded(mesh, rows, 0.6)
    check_sharded(make_mesh(MESHES["replica 8"], devices), rows, 0.1)  # there it is meant


@pytest.mark.parametrize("name", ["fsdp 8", "replica 2, fsdp 2, tensor 2", "fsdp 2, sequence 2, tensor 2"])
def test_the_models_are_sharded_enough(name: str, devices):
    config, mesh = step_config("adamw"), make_mesh(MESHES[name], devices)
    check_sharded(mesh, layout(abstract_state(config, mesh).params), config.mesh.max_unsharded)


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2.5e6, "2.5 MB"), (1.2345e12, "1,234 GB")],
)
def test_sizes_in_words(number: float, words: str):
    assert size(number) == words
