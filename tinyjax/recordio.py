"""ArrayRecord files: written in one go, their failures told as Python's own errors.

The C++ library reports a full disk or a damaged file as a bare RuntimeError; here it becomes an
`OSError` with its number and file name, or a `UserError` with the mend.
"""

import errno
import os
from collections.abc import Iterable

from array_record.python import array_record_module  # ty: ignore[missing-module-member]

from tinyjax.errors import UserError

# One record a group is what random access needs; light compression is as fast to read as none.
WRITER_OPTIONS = "group_size:1,zstd:1"
_REASONS = {os.strerror(code): code for code in errno.errorcode}


def write_records(path: str | os.PathLike[str], records: Iterable[bytes]) -> None:
    """Writes `records` to a local ArrayRecord file; OSError when the disk refuses."""
    try:
        writer = array_record_module.ArrayRecordWriter(os.fspath(path), WRITER_OPTIONS)
        try:
            for record in records:
                writer.write(record)
        finally:
            writer.close()
    except RuntimeError as error:
        raise _os_error(error, path) from error


def read_records(path: str | os.PathLike[str], stride: int = 1) -> list[bytes]:
    """Returns every `stride`-th record of a local file, in order; UserError when it is damaged."""
    try:
        reader = array_record_module.ArrayRecordReader(os.fspath(path))
        try:
            if stride == 1:
                return reader.read_all()
            return reader.read(list(range(0, reader.num_records(), stride)))
        finally:
            reader.close()
    except (RuntimeError, ValueError) as error:
        raise damaged(path) from error


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
