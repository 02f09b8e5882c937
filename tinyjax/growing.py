"""Files on gs:// to which lines are added, though objects in buckets can't grow.

A line is in a file of the cache at once, and in the object within `SECONDS` or when the file is closed: the
object is read, the new lines are set behind what it holds, and the whole is written. So lines that another
machine added meanwhile stay, as on a shared disk, unless both write at the same moment.

A process that was killed leaves lines in the cache that the object lacks. The object is the truth:

- is it as that process left it, all these lines belong to it;
- was it changed, as by another machine that went on, it knows better, and only those belong to it about which
  it says nothing (`tinyjax.records`: with a key that it lacks);
- is it gone, somebody wants to begin anew, and they are nothing.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import threading
from collections.abc import Generator
from typing import IO

from etils import epath

from tinyjax.cache import cache_entry
from tinyjax.checkpoint.remote import reached
from tinyjax.errors import UserError

SECONDS = 10.0  # between two writes of the object


@dataclasses.dataclass(frozen=True)
class Found:
    """What is there of a file before lines are added to it."""

    lines: bytes  # of the object, whole ones
    left: bytes  # lines in the cache that may belong behind them
    unchanged: bool  # the object is as who left them left it


class Growing:
    """A file on gs:// that is open for adding lines."""

    def __init__(self, path: epath.Path, kept: IO[bytes]):
        """Reads what is there; `kept` is the file in the cache, for lines that the object lacks."""
        self.kept = epath.Path(kept.name)
        self._path, self._kept = path, kept
        self._lock = threading.Lock()
        self._began, self._closing = threading.Event(), threading.Event()
        self._failed: Exception | None = None
        self._new, self._digest = b"", b""
        # The main thread may be interrupted in the middle of a write, which would leave half an object.
        self._writer = threading.Thread(target=self._keep_writing, daemon=True)
        self.found = self._find()

    def _find(self) -> Found:
        data = self._read()
        if data is None:
            return Found(b"", b"", unchanged=False)
        self._kept.seek(0)
        digest, _, left = self._kept.read().partition(b"\n")
        return Found(_whole(data), _whole(left), unchanged=digest == _digest(data))

    def begin(self, lines: bytes) -> None:
        """Writes the object for the first time, with `lines` of those that were left."""
        self._new = lines
        self._writer.start()
        self._began.wait()
        self._raise_failure()

    def write(self, line: str) -> None:
        """Adds a line; it is in the cache when this returns, also by an error."""
        data = line.encode()
        with self._lock:
            head = b"" if self._new else self._digest + b"\n"
            self._new += data
            self._kept.write(head + data)
            self._kept.flush()
        self._raise_failure()

    def flush(self) -> None:
        """Does nothing: lines don't wait to be in the cache."""

    def close(self) -> None:
        """Writes what the object still lacks."""
        if self._writer.ident is not None:
            self._closing.set()
            self._writer.join()
            self._raise_failure()

    def _keep_writing(self) -> None:
        try:
            self._write_object()
            self._began.set()
            while not self._closing.wait(SECONDS):
                self._write_object()
            self._write_object()
        except Exception as error:
            self._failed = error
        finally:
            self._began.set()

    def _write_object(self) -> None:
        """Sets the new lines behind those of the object; from then on they need not be kept."""
        with self._lock:
            if self._began.is_set() and not self._new:
                return
            there = self._read()
            data = _whole(there or b"") + self._new
            if data != there:
                with reached(self._path):
                    self._path.write_bytes(data)
            self._kept.truncate(0)
            self._new, self._digest = b"", _digest(data)

    def _read(self) -> bytes | None:
        """Returns the object, None where there is none."""
        with reached(self._path), contextlib.suppress(FileNotFoundError):
            return self._path.read_bytes()
        return None

    def _raise_failure(self) -> None:
        if self._failed is None:
            return
        if count := self._new.count(b"\n"):
            raise UserError(
                f"{self._failed}; {count:,} lines that '{self._path}' lacks are kept in '{self.kept}', and "
                "the same command goes on with them"
            ) from self._failed
        raise self._failed


@contextlib.contextmanager
def growing(path: epath.Path) -> Generator[Growing]:
    """Opens a file on gs:// for adding lines; `Growing.begin` makes it where it isn't there.

    Raises:
      UserError: it can't be read or written, or another process of this machine adds to it.
    """
    kept = cache_entry("records", path)
    kept.parent.mkdir(parents=True, exist_ok=True)
    with open(kept, "a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another process on this machine adds to '{path}'; wait for its end, or name another file"
            ) from None
        opened = Growing(path, file)
        try:
            yield opened
        finally:
            opened.close()


def _whole(data: bytes) -> bytes:
    """Returns the lines that were not cut off."""
    return data[: data.rfind(b"\n") + 1]


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()
