"""ArrayRecord files: written in one go, their failures told as Python's own errors.

The C++ library knows local files only, so others are copied. It reports a full disk or a damaged file
as a bare RuntimeError; here that becomes an `OSError` with its number and file name, or a `UserError`
with the mend.
"""

import contextlib
import errno
import os
import tempfile
from collections.abc import Generator, Iterable

from array_record.python import array_record_module  # ty: ignore[missing-module-member]
from etils import epath

from tinyjax.errors import UserError

# One record a group is what random access needs; light compression is as fast to read as none.
WRITER_OPTIONS = "group_size:1,zstd:1"
_REASONS = {os.strerror(code): code for code in errno.errorcode}


def is_local(path: epath.PathLike) -> bool:
    """Returns whether `path` is on a file system of this machine."""
    return "://" not in os.fspath(path)


def write_records(path: epath.PathLike, records: Iterable[bytes]) -> None:
    """Writes `records` to an ArrayRecord file; OSError when the disk refuses."""
    with _local(path) as local:
        try:
            writer = array_record_module.ArrayRecordWriter(local, WRITER_OPTIONS)
            try:
                for record in records:
                    writer.write(record)
            finally:
                writer.close()
        except RuntimeError as error:
            raise _os_error(error, local) from error
        if not is_local(path):
            epath.Path(local).copy(path, overwrite=True)


def read_records(path: epath.PathLike, stride: int = 1) -> list[bytes]:
    """Returns every `stride`-th record of a file, in order; UserError when it is damaged."""
    with _local(path) as local:
        if not is_local(path):
            epath.Path(path).copy(local, overwrite=True)
        try:
            reader = array_record_module.ArrayRecordReader(local)
            try:
                if stride == 1:
                    return reader.read_all()
                return reader.read(list(range(0, reader.num_records(), stride)))
            finally:
                reader.close()
        except (RuntimeError, ValueError) as error:
            raise damaged(path) from error


@contextlib.contextmanager
def _local(path: epath.PathLike) -> Generator[str]:
    """Yields a local path: the file's own, or for one elsewhere that of a passing copy."""
    if is_local(path):
        yield os.fspath(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield os.path.join(folder, epath.Path(path).name)


def damaged(path: str | os.PathLike[str]) -> UserError:
    """Returns the error for a record file that can't be read, with the mend."""
    return UserError(
        f"the data file '{os.fspath(path)}' is damaged or cut off; delete the folder 'stories' or "
        "'windows' that it lies in, and run prepare again with the same options"
    )


def _os_error(error: RuntimeError, path: str | os.PathLike[str]) -> Exception:
    for reason, code in _REASONS.items():
        if reason in str(error):
            return OSError(code, reason, os.fspath(path))
    return error
