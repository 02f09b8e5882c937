"""Meshes, and the one table that says which mesh axes each logical axis is sharded over.

Parameters and activations name their axes logically ("heads", "batch"); only this table knows the mesh.
Sharding is by `jax.jit` with `NamedSharding` (what pjit became) under `jax.set_mesh`.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from tinyjax.config import MeshConfig
from tinyjax.errors import UserError

Axes = Sequence[str | None]  # logical names, one per array dimension; None: never sharded

RULES: dict[str, tuple[str, ...]] = {
    # activations
    "batch": ("replica", "fsdp"),
    "position": ("sequence",),
    # parameters (and the activations they produce)
    "vocab": ("tensor",),
    "embed": ("fsdp",),
    "heads": ("tensor",),
    "kv_heads": ("tensor",),
    "hidden": ("tensor",),
    "layers": (),
}


def partition_spec(axes: Axes) -> PartitionSpec:
    """Returns the mesh axes of each dimension, by RULES."""
    return PartitionSpec(*(RULES[name] if name else None for name in axes))


def named_sharding(mesh: Mesh, axes: Axes) -> NamedSharding:
    """Returns the sharding over `mesh` of an array with these logical axes."""
    return NamedSharding(mesh, partition_spec(axes))


def constrain(x: jax.Array, axes: Axes) -> jax.Array:
    """Tells the compiler how `x` is sharded; does nothing outside of a mesh of several devices."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return x
    return jax.lax.with_sharding_constraint(x, partition_spec(axes))


def make_mesh(config: MeshConfig, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Returns a mesh over `devices` (default: all) with the axes of MeshConfig.

    Raises:
      UserError: the sizes don't multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    sizes = dataclasses.asdict(config)
    fixed = math.prod(size for size in sizes.values() if size > 0)
    filled = {name: len(devices) // fixed if size == -1 else size for name, size in sizes.items()}
    if math.prod(filled.values()) != len(devices):
        raise UserError(
            f"config.mesh {sizes} asks for {fixed} devices (or a multiple, with -1) but there are "
            f"{len(devices)}; choose sizes whose product is {len(devices)}"
        )
    return jax.make_mesh(
        tuple(filled.values()),
        tuple(filled),
        axis_types=(AxisType.Auto,) * len(filled),
        devices=devices,
    )


def local_rows(mesh: Mesh, batch_size: int) -> slice:
    """Returns the rows of a global batch that this process's devices hold."""
    held = named_sharding(mesh, ("batch",)).addressable_devices_indices_map((batch_size,))
    ranges = [index[0].indices(batch_size) for index in held.values() if index]
    return slice(min(start for start, _, _ in ranges), max(stop for _, stop, _ in ranges))


def put_batch(mesh: Mesh, batch: Mapping[str, Any]) -> dict[str, jax.Array]:
    """Makes global arrays of this process's rows [rows, T], sharded over the batch axis."""
    sharding = named_sharding(mesh, ("batch", None))
    return {name: jax.make_array_from_process_local_data(sharding, rows) for name, rows in batch.items()}


def check_batch(mesh: Mesh, batch_size: int) -> None:
    """Raises UserError, naming the nearest legal size, if `batch_size` does not divide over the mesh."""
    check_divides(mesh, "config.data.batch_size", batch_size, "batch")


def check_divides(mesh: Mesh, field: str, size: int, axis: str) -> None:
    """Raises UserError, naming the nearest legal size, if a logical axis of this size does not divide."""
    shards = math.prod(mesh.shape[name] for name in RULES[axis])
    if size % shards:
        nearest = max(1, round(size / shards)) * shards
        raise UserError(
            f"{field} {size} does not divide over the {shards} devices of the mesh's "
            f"{' x '.join(RULES[axis])}; the nearest size that does is {nearest}"
        )
