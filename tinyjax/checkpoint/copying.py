"""What lies in a checkpoint folder, and copies of a checkpoint that are whole or not there at all.

On gs:// Orbax takes a folder for a checkpoint by a mark that is written last, on a local disk by its name,
which is given last. Copied by other means a checkpoint may lack its mark, or have it before the numbers.
"""

import contextlib
import dataclasses
import datetime
import json
import os
import uuid
from collections.abc import Generator

import jax
from etils import epath

from tinyjax.checkpoint import manager as checkpoints
from tinyjax.checkpoint import remote
from tinyjax.checkpoint.preflight import probe
from tinyjax.errors import UserError
from tinyjax.recordio import is_local
from tinyjax.textio import files_below

MARK = "commit_success.txt"  # Orbax's, in the folder of the step and of each item
_TIMES = "_CHECKPOINT_METADATA"  # Orbax's JSON of when a step was written


@dataclasses.dataclass(frozen=True)
class Entry:
    """A checkpoint in a folder of them."""

    step: int
    bytes: int
    written: datetime.datetime | None  # UTC; None where it was not written to its end
    complete: bool


def entries(path: epath.PathLike) -> list[Entry]:
    """Returns the checkpoints of a run folder, or of its checkpoints folder, half-written ones too, in order.

    Raises:
      UserError: there is none.
    """
    path = epath.Path(path)
    for folder in (path / "checkpoints", path):
        complete = checkpoints.steps(folder)
        if numbers := sorted({*complete, *checkpoints.unfinished(folder)}):
            return [_entry(folder, step, step in complete) for step in numbers]
    raise UserError(f"there are no checkpoints in '{path}'; give a run folder or its 'checkpoints' folder")


def _entry(folder: epath.Path, step: int, complete: bool) -> Entry:
    """Sums a checkpoint's files; a half-written one has several names on a local disk."""
    own = [p for p in folder.iterdir() if p.name == str(step) or p.name.startswith(f"{step}.")]
    size = sum(file.stat().length for path in own for file in files_below(path))
    return Entry(step, size, written(folder / str(step)) if complete else None, complete)


def written(step_folder: epath.Path) -> datetime.datetime | None:
    """Returns when a checkpoint was completed (UTC), None where that was not noted."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        nanoseconds = json.loads((step_folder / _TIMES).read_text())["commit_timestamp_nsecs"]
        return datetime.datetime.fromtimestamp(nanoseconds / 1e9, datetime.UTC)
    return None


def copy(source: epath.PathLike, folder: epath.PathLike) -> epath.Path:
    """Copies a checkpoint to `folder`/STEP, local or on gs://, whole or not at all; returns that path.

    All numbers are read back and compared with their checksums before the copy counts.

    Raises:
      UserError: there is no checkpoint at `source`, one like it in `folder`, or the copy differs.
    """
    source = checkpoints.find(source)
    target = epath.Path(folder) / source.name
    probe(folder)
    if remote.exists(target):
        raise UserError(
            f"'{target}' is there already, and nothing is overwritten; choose another folder, or move it away"
        )
    with remote.reached(source), _appearing(target) as copied:
        for file in files_below(source):
            if file != source / MARK:
                _copy_file(file, copied / file.relative_to(source))
        verify(copied)
        _copy_file(source / MARK, copied / MARK)
    return target


def _copy_file(source: epath.Path, target: epath.Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with remote.reached(target):
        source.copy(target)


@contextlib.contextmanager
def _appearing(target: epath.Path) -> Generator[epath.Path]:
    """Yields the folder to fill: on gs:// the target, which counts by its mark, else one that is renamed."""
    local = is_local(target)
    folder = target.parent / f".partial-{target.name}-{uuid.uuid4().hex[:8]}" if local else target
    try:
        folder.mkdir(parents=True)
        yield folder
        if local:
            os.rename(folder, target)
    except BaseException:
        folder.rmtree(missing_ok=True)
        raise


def verify(step_folder: epath.Path) -> None:
    """Reads every number of a checkpoint; raises UserError where one is not what was written."""
    checkpoints.read_meta(step_folder)
    with checkpoints.explained(step_folder):
        items = list(checkpoints.read_json(step_folder)["checksums"])
    for item in items:
        checkpoints.read_state(step_folder, **{item: on_one_device(step_folder, item)})


def on_one_device(step_folder: epath.Path, item: str) -> dict:
    """Returns the target that reads a stored item as it is, whatever it was sharded over, onto one device."""
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        checkpoints.stored_tree(step_folder, item),
    )
