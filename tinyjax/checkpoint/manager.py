"""Saving and restoring training states with Orbax.

A step's folder holds three items: `params`, `opt_state` and `meta` (JSON: config, tokenizer, data
position, versions). A reader builds its target from the stored config and today's mesh, and compares it
with what is stored before anything is loaded; samplers read `params` and `meta` alone.
"""

import base64
import contextlib
import dataclasses
import importlib.metadata
import math
import os
import re
from collections.abc import Generator
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint.checkpoint_managers import preservation_policy

from tinyjax.config import Config, from_dict, to_dict
from tinyjax.errors import UserError
from tinyjax.tokenizer import Tokenizer

FORMAT_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Meta:
    """What travels with the parameters."""

    step: int  # updates made; also the position in the data, whose order is a function of seed and step
    config: Config
    tokenizer: Tokenizer
    dataset: str  # fingerprint of the packed windows trained on
    num_steps: int  # updates of the whole run, or UNDECIDED
    seconds: float  # training time so far
    instruct: bool  # whether instructions stand before the stories trained on

    def to_json(self) -> dict[str, Any]:
        """Returns plain values; the tokenizer's model as base64."""
        return {
            "format_version": FORMAT_VERSION,
            "step": self.step,
            "config": to_dict(self.config),
            "tokenizer": base64.b64encode(self.tokenizer.model).decode("ascii"),
            "tokenizer_sha256": self.tokenizer.sha256,
            "dataset": self.dataset,
            "num_steps": self.num_steps,
            "seconds": self.seconds,
            "instruct": self.instruct,
            "versions": {
                name: importlib.metadata.version(name)
                for name in ("jax", "flax", "optax", "orbax-checkpoint")
            },
        }


def meta_from_json(values: dict[str, Any]) -> Meta:
    """Reads what `Meta.to_json` wrote.

    Raises:
      UserError: a format this version doesn't know.
      ValueError: the tokenizer is damaged.
    """
    if values.get("format_version") != FORMAT_VERSION:
        raise UserError(
            f"the checkpoint has format version {values.get('format_version')}; this tinyjax reads "
            f"version {FORMAT_VERSION}: use the tinyjax that wrote it"
        )
    tokenizer = Tokenizer(base64.b64decode(values["tokenizer"]))
    if tokenizer.sha256 != values["tokenizer_sha256"]:
        raise ValueError("its tokenizer is not the one it was written with")
    return Meta(
        step=values["step"],
        config=from_dict(values["config"]).freeze(),
        tokenizer=tokenizer,
        dataset=values["dataset"],
        num_steps=values["num_steps"],
        seconds=values["seconds"],
        instruct=values["instruct"],
    )


@contextlib.contextmanager
def open_for_writing(folder: epath.PathLike, keep_every: int) -> Generator[ocp.CheckpointManager]:
    """Yields a manager that keeps the newest step and every multiple of `keep_every`; then waits for it.

    Raises:
      UserError: the folder can't be written to.
    """
    keep = [preservation_policy.LatestN(1), preservation_policy.EveryNSteps(keep_every)]
    options = ocp.CheckpointManagerOptions(
        preservation_policy=preservation_policy.AnyPreservationPolicy(keep), create=True
    )
    with _written(folder):
        manager = ocp.CheckpointManager(_absolute(folder), options=options)
    try:
        yield manager
        finish(manager)
    finally:
        with contextlib.suppress(Exception):  # what failed to be written has been raised
            manager.close()


def save(manager: ocp.CheckpointManager, params: Any, opt_state: Any, meta: Meta) -> None:
    """Starts saving in the background; an earlier save that failed raises here."""
    sums = {"params": _sums_of(params), "opt_state": _sums_of(opt_state)}
    items = ocp.args.Composite(
        params=ocp.args.StandardSave(params),
        opt_state=ocp.args.StandardSave(opt_state),
        meta=ocp.args.JsonSave(meta.to_json() | {"checksums": sums}),
    )
    with _written(manager.directory):
        manager.save(meta.step, args=items, force=True)


def finish(manager: ocp.CheckpointManager) -> None:
    """Waits until what was saved is on disk; a save that failed raises here."""
    with _written(manager.directory):
        manager.wait_until_finished()


@contextlib.contextmanager
def _written(folder: epath.PathLike) -> Generator[None]:
    """Turns whatever Orbax and TensorStore raise for a disk that is full or forbidden into one message."""
    try:
        yield
    except Exception as error:
        code = re.search(r"os_error_code='(\d+)'", str(error))
        cause = os.strerror(int(code[1])) if code else _first_line(error)
        raise UserError(
            f"a checkpoint could not be written to '{folder}' ({cause}); make room or mend the folder, and "
            "run the same command again: it goes on from the newest complete checkpoint"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _absolute(path: epath.PathLike) -> epath.Path:
    """Orbax refuses relative paths; a URL has none."""
    return epath.Path(path) if "://" in os.fspath(path) else epath.Path(path).absolute()


def steps(folder: epath.PathLike) -> list[int]:
    """Returns the steps that were completely written, in order."""
    folder = epath.Path(folder)
    return sorted(ocp.utils.checkpoint_steps(folder)) if folder.is_dir() else []


def find(path: epath.PathLike) -> epath.Path:
    """Returns the folder of one step, given it, its parent, or a run folder (then the newest step).

    Raises:
      UserError: there is no checkpoint.
    """
    path = epath.Path(path)
    if not path.exists():
        raise UserError(f"there is no checkpoint at '{path}': no such folder; check the path")
    if re.fullmatch(r"\d+", path.name) and (path / "meta").is_dir():
        return path
    for folder in (path / "checkpoints", path):
        if found := steps(folder):
            return folder / str(found[-1])
    raise UserError(
        f"there is no complete checkpoint in '{path}'; give a run folder, its 'checkpoints' folder or one "
        f"step of it"
    )


def read_meta(step_folder: epath.Path) -> Meta:
    """Reads a step's metadata; raises UserError when it is damaged."""
    with _explained(step_folder):
        return meta_from_json(_read_json(step_folder))


def _read_json(step_folder: epath.Path) -> dict[str, Any]:
    with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as reader:
        return reader.restore(_absolute(step_folder) / "meta", args=ocp.args.JsonRestore())


def read_state(step_folder: epath.Path, **targets: Any) -> dict[str, Any]:
    """Reads items ("params", "opt_state") into trees of `ShapeDtypeStruct` with shardings.

    Raises:
      UserError: what is stored has other names or shapes than the targets, or can't be read.
    """
    for item, target in targets.items():
        _compare(step_folder, item, target)
    with _explained(step_folder), ocp.StandardCheckpointer() as reader:
        folder = _absolute(step_folder)
        state = {item: reader.restore(folder / item, target) for item, target in targets.items()}
        sums = _read_json(step_folder)["checksums"]
        for item, tree in state.items():
            if _sums_of(tree) != sums[item]:
                raise ValueError(f"the numbers in '{item}' are not those that were written")
    return state


def _sums_of(tree: Any) -> list[int]:
    return [int(value) for value in jax.device_get(_checksums(tree))]


@jax.jit
def _checksums(tree: Any) -> list[jax.Array]:
    """Returns a number for each leaf, the same however it is sharded, that one changed element changes.

    TensorStore checks its index but not the arrays, so without it a damaged disk would go unnoticed.
    """
    return [_checksum(leaf) for leaf in jax.tree.leaves(tree)]


def _checksum(x: jax.Array) -> jax.Array:
    """Sums the elements' bits, each times the odd number of its position, modulo 2**32."""
    bits = jax.lax.bitcast_convert_type(x, f"uint{8 * x.dtype.itemsize}").astype(jnp.uint32)
    strides = [math.prod(x.shape[axis + 1 :]) for axis in range(x.ndim)]
    index = sum(
        jax.lax.broadcasted_iota(jnp.uint32, x.shape, axis) * jnp.uint32(stride % 2**32)
        for axis, stride in enumerate(strides)
    )
    return jnp.sum(bits * (2 * index + 1), dtype=jnp.uint32)


@contextlib.contextmanager
def _explained(step_folder: epath.Path) -> Generator[None]:
    """Turns whatever Orbax and TensorStore raise for damaged files, which is much, into one message."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"the checkpoint '{step_folder}' can't be read ({_first_line(error)}); it is damaged or was "
            f"copied incompletely: copy it again, or move that folder away to go on from an earlier step"
        ) from error


def _compare(step_folder: epath.Path, item: str, target: Any) -> None:
    """Raises UserError listing what is missing, extra or misshapen in the stored item."""
    with _explained(step_folder):
        stored = _shapes(ocp.StandardCheckpointHandler().metadata(_absolute(step_folder) / item).tree)
    wanted = _shapes(target)
    problems = (
        [f"missing {name}" for name in wanted.keys() - stored.keys()]
        + [f"not expected {name}" for name in stored.keys() - wanted.keys()]
        + [
            f"{name} has shape {stored[name]}, expected {wanted[name]}"
            for name in wanted.keys() & stored.keys()
            if wanted[name] != stored[name]
        ]
    )
    if problems:
        raise UserError(
            f"the checkpoint '{step_folder}' is of another model: in '{item}' "
            + "; ".join(sorted(problems)[:5])
            + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
            + ". Use the config it was trained with, or another run folder"
        )


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """Maps "a/b/c" to a leaf's shape; sequences and named tuples are alike, as Orbax stores them."""
    leaves = jax.tree.leaves_with_path(tree, is_leaf=lambda x: hasattr(x, "shape"))
    return {
        "/".join(re.sub(r"[\[\]'.]", "", str(entry)) for entry in path): tuple(leaf.shape)
        for path, leaf in leaves
        if hasattr(leaf, "shape")
    }
