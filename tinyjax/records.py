"""Files of records, one JSON object a line, added one by one; a run that was stopped goes on with them."""

import contextlib
import json
import os
from collections.abc import Generator, Mapping, Sequence
from typing import Any

from etils import epath

from tinyjax.errors import UserError
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
        return tuple(record[field] for field in self._fields)

    def get(self, *key: Any) -> Record | None:
        """Returns the record with a key, the last one where it was added twice."""
        return self._by_key.get(key)

    def __contains__(self, key: tuple) -> bool:
        """Returns whether there is a record with a key."""
        return key in self._by_key

    def add(self, record: Record) -> None:
        """Adds a record; it is on disk when this returns."""
        whole = record | self._settings
        self._file.write(json.dumps(whole, ensure_ascii=False) + "\n")
        self._file.flush()
        self._by_key[self.key(whole)] = whole


@contextlib.contextmanager
def open_records(
    path: epath.PathLike, what: str, key: Sequence[str], settings: Mapping[str, Any]
) -> Generator[Records]:
    """Opens a file of records for reading and adding; it is made where it isn't there.

    Args:
      path: of the file, local.
      what: a record is, for errors: "a story that was told".
      key: the fields that tell a record from the others.
      settings: what all records were made with, as JSON has it; they stand in every line, but for those
        that are None, which stand in none.

    Raises:
      UserError: it holds something else, or records that were made with other settings.
    """
    path = epath.Path(path)
    if not is_local(path):
        raise UserError(
            f"'{path}' is not on this machine; give a local file, to which can be added, and copy it"
        )
    there = _read(path, what, key, settings) if path.exists() else []
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        yield Records(file, key, settings, there)


def _read(path: epath.Path, what: str, key: Sequence[str], settings: Mapping[str, Any]) -> list[Record]:
    """Returns the records of the file, whose last line is taken off where it was cut off."""
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    records = [
        _parse(line, f"line {number} of '{path}'", what, key, settings)
        for number, line in enumerate(whole.splitlines(), 1)
    ]
    if len(whole) < len(data):
        os.truncate(path, len(whole))
    return records


def _parse(line: bytes, where: str, what: str, key: Sequence[str], settings: Mapping[str, Any]) -> Record:
    mend = "give another file, or move it away"
    try:
        record = json.loads(line)
        hash(tuple(record[field] for field in key))
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{where} is not {what}; {mend}") from None
    for name, value in settings.items():
        if record.get(name) != value:
            raise UserError(f"{where} was made with {name} {record.get(name)!r}, not {value!r}; {mend}")
    return record
