"""How arrays lie on the devices of a mesh: what each device holds, and a check that enough is sharded."""

import dataclasses
import math
from typing import Any

import jax
from jax.sharding import Mesh

from tinyjax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Placed:
    """Where one array lies."""

    name: str  # its path in the tree: layers/query
    shape: tuple[int, ...]
    spec: tuple[str, ...]  # the mesh axes of each dimension that has more than one shard, "-" for none
    total_bytes: int
    device_bytes: int  # on each device

    @property
    def is_whole(self) -> bool:
        """Whether each device holds all of it."""
        return self.device_bytes == self.total_bytes


def layout(tree: Any) -> list[Placed]:
    """Returns a row for each leaf of a tree of `ShapeDtypeStruct`s, or arrays, with a NamedSharding."""
    return [_place(path, leaf) for path, leaf in jax.tree.leaves_with_path(tree)]


def _place(path: tuple, leaf: Any) -> Placed:
    width = leaf.dtype.itemsize
    return Placed(
        name=jax.tree_util.keystr(path, simple=True, separator="/"),
        shape=tuple(leaf.shape),
        spec=_spec(leaf),
        total_bytes=math.prod(leaf.shape) * width,
        device_bytes=math.prod(leaf.sharding.shard_shape(leaf.shape)) * width,
    )


def _spec(leaf: Any) -> tuple[str, ...]:
    """Leaves out axes of size 1, which shard nothing."""
    mesh, names = leaf.sharding.mesh, []
    for entry in (*leaf.sharding.spec, *[None] * (len(leaf.shape) - len(leaf.sharding.spec))):
        axes = (entry,) if isinstance(entry, str) else entry or ()
        names.append("+".join(axis for axis in axes if mesh.shape[axis] > 1) or "-")
    return tuple(names)


def device_bytes(rows: list[Placed]) -> int:
    """Returns the bytes that each device holds."""
    return sum(row.device_bytes for row in rows)


def table(rows: list[Placed]) -> list[str]:
    """Returns the rows in aligned columns: name, shape, mesh axes, size on each device."""
    cells = [
        (row.name, "x".join(map(str, row.shape)), ", ".join(row.spec), size(row.device_bytes)) for row in rows
    ]
    cells = [("parameter", "shape", "sharded over", "per device"), *cells]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        f"  {name:{widths[0]}}  {shape:{widths[1]}}  {axes:{widths[2]}}  {held:>{widths[3]}}"
        for name, shape, axes, held in cells
    ]


def size(num_bytes: float) -> str:
    """Returns a number of bytes in words: 1.5 MB."""
    for unit in ("B", "kB", "MB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:,.4g} GB"


def check_sharded(mesh: Mesh, rows: list[Placed], max_unsharded: float) -> None:
    """Raises UserError, naming the largest, where too many bytes of parameters are whole on each device.

    On a mesh without fsdp and tensor they are meant to be.
    """
    if mesh.shape["fsdp"] * mesh.shape["tensor"] == 1:
        return
    whole = sorted((row for row in rows if row.is_whole), key=lambda row: -row.total_bytes)
    share = sum(row.total_bytes for row in whole) / sum(row.total_bytes for row in rows)
    if share > max_unsharded:
        largest = ", ".join(f"{row.name} {size(row.total_bytes)}" for row in whole[:3])
        more = f" and {len(whole) - 3} more" if len(whole) > 3 else ""
        raise UserError(
            f"{share:.0%} of the parameters' bytes are whole on each device ({largest}{more}); with "
            f"fsdp={mesh.shape['fsdp']} and tensor={mesh.shape['tensor']} at most {max_unsharded:.0%} may. "
            "Use config.mesh.fsdp, which divides every matrix, or allow more with config.mesh.max_unsharded"
        )
