"""Meshes, and the one table that says which mesh axes each logical axis is sharded over.

Parameters and activations name their axes logically ("heads", "batch"); only this table knows the mesh.
Sharding is by `jax.jit` with `NamedSharding` (what pjit became) under `jax.set_mesh`.
"""

import collections
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from tinyjax.config import MeshConfig
from tinyjax.errors import UserError

AXES = ("replica", "fsdp", "sequence", "tensor")  # of the mesh, from the slowest links to the fastest

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

    Several slices are told apart by the replica axis as far as its size goes, then by fsdp: only sums of
    gradients and gathers of parameters go over the slow links between them.

    Raises:
      UserError: the sizes don't multiply to the number of devices, or the slices don't divide them.
    """
    devices = jax.devices() if devices is None else devices
    sizes = _fill(config, len(devices))
    slices = _slices(devices, config.slices)
    over = {"replica": math.gcd(sizes["replica"], len(slices))}
    over["fsdp"] = len(slices) // over["replica"]
    if sizes["fsdp"] % over["fsdp"]:
        raise UserError(
            f"config.mesh {sizes}: replica x fsdp can't be divided over {len(slices)} slices, and sequence "
            f"and tensor stay within one; make config.mesh.replica a multiple of {len(slices)}"
        )
    outer = [over.get(name, 1) for name in sizes]
    inner = [size // n for size, n in zip(sizes.values(), outer, strict=True)]
    grid = _join([_arrange(inner, group) for group in slices], outer)
    return Mesh(grid, tuple(sizes), axis_types=(AxisType.Auto,) * len(sizes))


def _fill(config: MeshConfig, num_devices: int) -> dict[str, int]:
    """Returns the sizes of the axes, with -1 filled in."""
    sizes = {name: getattr(config, name) for name in AXES}
    fixed = math.prod(size for size in sizes.values() if size > 0)
    filled = {name: num_devices // fixed if size == -1 else size for name, size in sizes.items()}
    if math.prod(filled.values()) != num_devices:
        raise UserError(
            f"config.mesh {sizes} asks for {fixed} devices (or a multiple, with -1) but there are "
            f"{num_devices}; choose sizes whose product is {num_devices}"
        )
    return filled


def _slices(devices: Sequence[jax.Device], wanted: int) -> list[list[jax.Device]]:
    """Groups devices by the slice that they say they are in; those of one slice, in `wanted` equal runs.

    So any eight devices can stand for two slices of four, to see what such a mesh does.
    """
    told: dict[int, list[jax.Device]] = collections.defaultdict(list)
    for device in devices:
        told[getattr(device, "slice_index", None) or 0].append(device)
    groups = [group for _, group in sorted(told.items())]
    if len(groups) == 1 and wanted and len(devices) % wanted == 0:
        size = len(devices) // wanted
        groups = [groups[0][start : start + size] for start in range(0, len(devices), size)]
    if (wanted and len(groups) != wanted) or len({len(group) for group in groups}) > 1:
        raise UserError(
            f"config.mesh.slices is {wanted}, but the {len(devices)} devices are in {len(groups)} slices of "
            f"{', '.join(str(len(group)) for group in groups)}; set it to 0, and use slices of equal size"
        )
    return groups


def _arrange(sizes: Sequence[int], devices: Sequence[jax.Device]) -> np.ndarray:
    """Lays the devices of one slice out so that neighbours in the mesh are neighbours on the links."""
    split = devices[0].device_kind in ("TPU v5 lite", "TPU v5e")  # axes share rings, as in jax.make_mesh
    try:
        return mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=split)
    except NotImplementedError:  # on other chips too, where there is no other way
        return mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)


def _join(slices: Sequence[np.ndarray], outer: Sequence[int]) -> np.ndarray:
    """Puts the grids of all slices side by side: `outer` of them along each axis."""
    joined = list(slices)
    for axis in reversed(range(len(outer))):
        runs = range(0, len(joined), outer[axis])
        joined = [np.concatenate(joined[i : i + outer[axis]], axis) for i in runs]
    return joined[0]


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
