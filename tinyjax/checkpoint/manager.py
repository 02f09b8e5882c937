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
from absl import logging
from etils import epath
from orbax.checkpoint.checkpoint_managers import preservation_policy

from tinyjax.checkpoint import remote
from tinyjax.config import Config, from_dict, to_dict
from tinyjax.errors import UserError
from tinyjax.tokenizer import Tokenizer

FORMAT_VERSION = 2


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

    def parameters_item(self, ema: bool = True) -> str:
        """Returns the item whose parameters count: where wanted, their average, if the run kept one."""
        return "ema" if ema and self.config.train.ema_decay else "params"

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
        manager = ocp.CheckpointManager(absolute(folder), options=options)
    try:
        yield manager
        finish(manager)
    finally:
        with contextlib.suppress(Exception):  # what failed to be written has been raised
            manager.close()


def save(manager: ocp.CheckpointManager, params: Any, opt_state: Any, meta: Meta, **more: Any) -> None:
    """Starts saving in the background, `more` items too; an earlier save that failed raises here.

    `opt_state` is None for a model that was not trained here.
    """
    state = {"params": params, "opt_state": opt_state, **more}
    state = {name: item for name, item in state.items() if item is not None}
    sums = {name: sums_of(item) for name, item in state.items()}
    items = ocp.args.Composite(
        **{name: ocp.args.StandardSave(item) for name, item in state.items()},
        meta=ocp.args.JsonSave(meta.to_json() | {"checksums": sums}),
    )
    with _written(manager.directory):
        manager.save(meta.step, args=items, force=True)


def check(manager: ocp.CheckpointManager) -> None:
    """Raises UserError if a save in the background has failed; costs nothing otherwise."""
    with _written(manager.directory):
        manager.check_for_errors()


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
        cause = os.strerror(int(code[1])) if code else remote.first_line(error)
        if told := remote.refusal(folder, error) or remote.no_bucket(folder, error):
            raise told from error
        raise UserError(
            f"a checkpoint could not be written to '{folder}' ({cause}); make room or mend the folder, and "
            "run the same command again: it goes on from the newest complete checkpoint"
        ) from error


def absolute(path: epath.PathLike) -> epath.Path:
    """Orbax refuses relative paths; a URL has none."""
    return epath.Path(path) if "://" in os.fspath(path) else epath.Path(path).absolute()


def steps(folder: epath.PathLike) -> list[int]:
    """Returns the steps that were completely written, in order."""
    folder = epath.Path(folder)
    with remote.reached(folder):
        return sorted(ocp.utils.checkpoint_steps(folder)) if _is_folder(folder) else []


def _is_folder(path: epath.Path) -> bool:
    return remote.exists(path) and path.is_dir()


def unfinished(folder: epath.PathLike) -> list[int]:
    """Returns the steps whose writing was begun and, so far, not finished, in order."""
    folder = epath.Path(folder)
    with remote.reached(folder):
        names = [path.name for path in folder.iterdir()] if _is_folder(folder) else []
    begun = {int(found[1]) for name in names if (found := re.fullmatch(r"(\d+)(\..*)?", name))}
    return sorted(begun - set(steps(folder)))


def newest(folder: epath.PathLike) -> int | None:
    """Returns the newest step that was completely written; tells of newer ones that were not."""
    found = max(steps(folder), default=None)
    for step in unfinished(folder):
        if found is None or step > found:
            logging.warning("the checkpoint of step %d in '%s' was only half written: ignored", step, folder)
    return found


def find(path: epath.PathLike) -> epath.Path:
    """Returns the folder of one step, given it, its parent, or a run folder (then the newest step).

    Raises:
      UserError: there is no checkpoint, or the one step that is given was not written to its end.
    """
    path = epath.Path(path)
    if not remote.exists(path):
        raise UserError(f"there is no checkpoint at '{path}': no such folder; check the path")
    if re.fullmatch(r"\d+", path.name) and (path / "meta").is_dir():
        if int(path.name) not in steps(path.parent):
            raise UserError(
                f"the checkpoint '{path}' was not written to its end, or not copied by "
                "`tinyjax.bin.ckpt copy`; copy it again with that, or take another step"
            )
        return path
    for folder in (path / "checkpoints", path):
        if (found := newest(folder)) is not None:
            return folder / str(found)
    raise UserError(
        f"there is no complete checkpoint in '{path}'; give a run folder, its 'checkpoints' folder or one "
        f"step of it"
    )


def read_meta(step_folder: epath.Path) -> Meta:
    """Reads a step's metadata; raises UserError when it is damaged."""
    with explained(step_folder):
        return meta_from_json(read_json(step_folder))


def read_json(step_folder: epath.Path) -> dict[str, Any]:
    """Reads a step's metadata as it is stored: what `Meta.to_json` gives, and checksums."""
    with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as reader:
        return reader.restore(absolute(step_folder) / "meta", args=ocp.args.JsonRestore())


def read_state(step_folder: epath.Path, **targets: Any) -> dict[str, Any]:
    """Reads items ("params", "opt_state") into trees of `ShapeDtypeStruct` with shardings.

    Raises:
      UserError: what is stored has other names or shapes than the targets, or can't be read.
    """
    for item, target in targets.items():
        _compare(step_folder, item, target)
    with explained(step_folder), ocp.StandardCheckpointer() as reader:
        folder = absolute(step_folder)
        state = {item: reader.restore(folder / item, target) for item, target in targets.items()}
        sums = read_json(step_folder)["checksums"]
        for item, tree in state.items():
            if sums_of(tree) != sums[item]:
                raise ValueError(f"the numbers in '{item}' are not those that were written")
    return state


def sums_of(tree: Any) -> dict[str, int]:
    """Maps the path of each array to its checksum."""
    return {name: int(value) for name, value in jax.device_get(_checksums(named_leaves(tree))).items()}


@jax.jit
def _checksums(leaves: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Returns a number for each array, the same however it is sharded, that one changed element changes.

    TensorStore checks its index but not the arrays, so without it a damaged disk would go unnoticed.
    """
    return {name: _checksum(leaf) for name, leaf in leaves.items()}


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
def explained(step_folder: epath.Path) -> Generator[None]:
    """Turns whatever Orbax and TensorStore raise for damaged files, which is much, into one message."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise remote.refusal(step_folder, error) or UserError(
            f"the checkpoint '{step_folder}' can't be read ({remote.first_line(error)}); it is damaged or "
            f"was copied incompletely: copy it again, or move that folder away to go on from an earlier step"
        ) from error


def _compare(step_folder: epath.Path, item: str, target: Any) -> None:
    """Raises UserError listing what is missing, extra or misshapen in the stored item."""
    problems = differences(stored_shapes(step_folder, item), shapes(target))
    if problems:
        raise UserError(
            f"the checkpoint '{step_folder}' is of another model: in '{item}' "
            + listed(problems)
            + ". Use the config it was trained with, or another run folder"
        )


def stored_shapes(step_folder: epath.Path, item: str) -> dict[str, tuple[int, ...]]:
    """Maps the path of each array of a stored item to its shape; reads no array."""
    return shapes(stored_tree(step_folder, item))


def stored_tree(step_folder: epath.Path, item: str) -> Any:
    """Returns the tree of a stored item; its leaves have a shape and a dtype, and no numbers are read."""
    with explained(step_folder):
        return ocp.StandardCheckpointHandler().metadata(absolute(step_folder) / item).tree


def differences(
    stored: dict[str, tuple[int, ...]], wanted: dict[str, tuple[int, ...]], passed: str = ""
) -> list[str]:
    """Says what is missing, not expected or misshapen in `stored`, in order; not what fully matches `passed`.

    What is not expected is told even if it matches.
    """
    missing = {name: f"missing {name} {wanted[name]}" for name in wanted.keys() - stored.keys()}
    misshapen = {
        name: f"{name} has shape {stored[name]}, expected {wanted[name]}"
        for name in wanted.keys() & stored.keys()
        if wanted[name] != stored[name]
    }
    told = [line for name, line in (missing | misshapen).items() if not re.fullmatch(passed, name)]
    return sorted(told + [f"not expected {name} {stored[name]}" for name in stored.keys() - wanted.keys()])


def listed(problems: list[str], most: int = 5) -> str:
    """Joins the first few of many problems."""
    more = f"; and {len(problems) - most} more" if len(problems) > most else ""
    return "; ".join(problems[:most]) + more


def shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """Maps "a/b/c" to a leaf's shape; sequences and named tuples are alike, as Orbax stores them."""
    return {name: tuple(leaf.shape) for name, leaf in named_leaves(tree).items()}


def named_leaves(tree: Any) -> dict[str, Any]:
    """Maps "a/b/c" to the array, or what stands for one, in the order of `jax.tree.leaves`."""
    leaves = jax.tree.leaves_with_path(tree, is_leaf=lambda x: hasattr(x, "shape"))
    return {
        "/".join(re.sub(r"[\[\]'.]", "", str(entry)) for entry in path): leaf
        for path, leaf in leaves
        if hasattr(leaf, "shape")
    }
