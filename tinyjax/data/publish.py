"""Files and folders that appear whole or not at all, on a local disk and on gs://."""

import contextlib
import hashlib
import shutil
import tempfile
import uuid
from collections.abc import Generator

from etils import epath

from tinyjax import textio
from tinyjax.cache import cache_folder
from tinyjax.recordio import is_local
from tinyjax.workers import one_at_a_time

# The last file to be copied where a folder can't be renamed: a folder without it is not there.
MARK = "manifest.json"
_PARTIAL = ".partial-"
_UNFINISHED = ".unfinished"


@contextlib.contextmanager
def publish(folder: epath.Path, *, from_afar: bool = False) -> Generator[epath.Path]:
    """Yields an empty local folder that becomes `folder` when the block ends without an error.

    A block that fails leaves nothing. The block writes `MARK` into it, last. With `from_afar` other
    machines write too, so that a folder elsewhere is `folder` itself.
    """
    if from_afar and not is_local(folder):
        with _in_place(folder):
            yield folder
        return
    parent = folder.parent if is_local(folder) else epath.Path(tempfile.gettempdir())
    partial = parent / f"{_PARTIAL}{folder.name}-{uuid.uuid4().hex[:8]}"
    try:
        partial.mkdir(parents=True)
        yield partial
        if is_local(folder):
            partial.rename(folder)
        else:
            with _in_place(folder):
                copy_folder(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def _in_place(folder: epath.Path) -> Generator[None]:
    """Marks a folder that can't be renamed as unfinished while the block fills it."""
    folder.rmtree(missing_ok=True)
    folder.mkdir(parents=True)
    (folder / _UNFINISHED).write_text("prepare is at work here, or was killed")
    yield
    (folder / _UNFINISHED).unlink()


def is_unfinished(folder: epath.Path) -> bool:
    """Returns whether prepare began to fill this folder and did not finish."""
    return (folder / _UNFINISHED).exists()


def copy_folder(source: epath.Path, target: epath.Path) -> None:
    """Copies the files below `source`, `MARK` last."""
    for path in sorted(textio.files_below(source), key=lambda path: path.name == MARK):
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        path.copy(copy, overwrite=True)


def is_published(folder: epath.Path) -> bool:
    """Returns whether `folder` was published whole."""
    return (folder / MARK).exists() and not is_unfinished(folder)


def remove_partial(parent: epath.Path) -> None:
    """Removes what a killed process left below `parent`."""
    if is_local(parent) and parent.is_dir():
        for path in parent.iterdir():
            if path.name.startswith(_PARTIAL):
                path.rmtree() if path.is_dir() else path.unlink()


def local_copy(folder: epath.Path) -> epath.Path:
    """Returns a local folder with the files of a published one, copied once where it is remote."""
    if is_local(folder):
        return folder
    key = hashlib.sha256(f"{folder} {(folder / MARK).read_text()}".encode()).hexdigest()[:16]
    copies = cache_folder("data")
    copies.mkdir(parents=True, exist_ok=True)
    copy = copies / key
    with one_at_a_time(copies, lambda: None):
        if not is_published(copy):
            remove_partial(copies)
            with publish(copy) as partial:
                copy_folder(folder, partial)
    return copy


def write_file(path: epath.Path, data: bytes) -> None:
    """Writes a small file in one step: readers see the old bytes or the new, never a part."""
    if not is_local(path):
        path.write_bytes(data)
        return
    partial = path.parent / f"{_PARTIAL}{path.name}"
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
