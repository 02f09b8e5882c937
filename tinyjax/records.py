"""Files of records, one JSON object a line, added one by one; a run that was stopped goes on with them."""

import contextlib
import functools
import json
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from etils import epath

from tinyjax.errors import UserError
from tinyjax.growing import growing
from tinyjax.recordio import is_local

Record = dict[str, Any]


class Records:
    """What a file holds, by key, and what adds to it."""

    def __init__(self, file: Any, key: Sequence[str], settings: Mapping[str, Any], there: Sequence[Record]):
        """Takes a file that is open for adding, and what it holds."""
        self._file, self._fields = file, tuple(key)
        self._settings = {name: value for name, value in settings.items() if value is not None}
        self._by_key = {self.key(record): record for record in there}

    def key(self, record: Mapping[str, Any]) -> tuple:
        """Returns what tells a record from the others."""
        return _key(record, self._fields)

    def get(self, *key: Any) -> Record | None:
        """Returns the record with a key, the last one where it was added twice."""
        return self._by_key.get(key)

    def __contains__(self, key: tuple) -> bool:
        """Returns whether there is a record with a key."""
        return key in self._by_key

    def add(self, record: Record) -> None:
        """Adds a record; it is on this machine's disk when this returns."""
        whole = record | self._settings
        self._file.write(json.dumps(whole, ensure_ascii=False) + "\n")
        self._file.flush()
        self._by_key[self.key(whole)] = whole


@contextlib.contextmanager
def open_records(
    path: epath.PathLike, what: str, key: Sequence[str], settings: Mapping[str, Any]
) -> Generator[Records]:
    """Opens a file of records for reading and adding; it is made where it isn't there.

    On gs:// a record is in the bucket some seconds after it was added. Those that a process of this machine
    had added in the seconds before it was killed are taken up; where the file was changed meanwhile, only
    such as it has none of with their key; where it was removed, none (see `tinyjax.growing`).

    Args:
      path: of the file, local or on gs://.
      what: a record is, for errors: "a story that was told".
      key: the fields that tell a record from the others.
      settings: what all records were made with, as JSON has it; they stand in every line, but for those
        that are None, which stand in none.

    Raises:
      UserError: it holds something else, or records that were made with other settings.
    """
    path = epath.Path(path)
    parse = functools.partial(_parse, what=what, key=key, settings=settings)
    opened = _on_disk(path, parse) if is_local(path) else _in_bucket(path, key, parse)
    with opened as (there, file):
        yield Records(file, key, settings, there)


_Opened = Generator[tuple[list[Record], Any]]  # what a file holds, and what adds lines to it
_Parse = Callable[[bytes, str], list[Record]]


@contextlib.contextmanager
def _on_disk(path: epath.Path, parse: _Parse) -> _Opened:
    """Opens a local file, whose last line is taken off where it was cut off."""
    data = path.read_bytes() if path.exists() else b""
    whole = data[: data.rfind(b"\n") + 1]
    there = parse(whole, f"'{path}'")
    if len(whole) < len(data):
        os.truncate(path, len(whole))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        yield there, file


@contextlib.contextmanager
def _in_bucket(path: epath.Path, key: Sequence[str], parse: _Parse) -> _Opened:
    """Opens a file on gs://, with the records that a process which was killed left in the cache."""
    with growing(path) as file:
        found = file.found
        there = parse(found.lines, f"'{path}'")
        known = {_key(record, key) for record in there}
        left = parse(found.left, f"'{file.kept}' (for '{path}')")
        taken = [
            (line, record)
            for line, record in zip(found.left.splitlines(keepends=True), left, strict=True)
            if found.unchanged or _key(record, key) not in known
        ]
        file.begin(b"".join(line for line, _ in taken))
        yield there + [record for _, record in taken], file


def _key(record: Mapping[str, Any], fields: Sequence[str]) -> tuple:
    return tuple(record[field] for field in fields)


def _parse(
    lines: bytes, where: str, *, what: str, key: Sequence[str], settings: Mapping[str, Any]
) -> list[Record]:
    """Returns the records in lines; UserError where one is something else."""
    return [
        _parse_line(line, f"line {number} of {where}", what, key, settings)
        for number, line in enumerate(lines.splitlines(), 1)
    ]


def _parse_line(
    line: bytes, where: str, what: str, key: Sequence[str], settings: Mapping[str, Any]
) -> Record:
    mend = "give another file, or move it away"
    try:
        record = json.loads(line)
        hash(_key(record, key))
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{where} is not {what}; {mend}") from None
    for name, value in settings.items():
        if record.get(name) != value:
            raise UserError(f"{where} was made with {name} {record.get(name)!r}, not {value!r}; {mend}")
    return record
