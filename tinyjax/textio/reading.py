"""Reads story files, a record at a time."""

import contextlib
import csv
import dataclasses
import json
import re
from collections.abc import Generator, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet
from etils import epath

from tinyjax import instruct
from tinyjax.errors import UserError
from tinyjax.textio import decoding
from tinyjax.textio.files import SEPARATOR, Part, find
from tinyjax.textio.record import Record, from_row, text_key

_SEPARATOR = re.compile(re.escape(SEPARATOR))
_BLANK_LINES = re.compile(r"\n[^\S\n]*\n\s*")
_BETWEEN_ITEMS = " \t\n\r,"


def read(
    path: epath.PathLike, *, encoding: str = "utf-8", key: str = "", keep_empty: bool = False
) -> Iterator[Record]:
    """Streams the stories at `path`, stripped of surrounding whitespace, in file order.

    `key` names the JSON key or the column of the text (default: text, then story). Empty stories
    are left out, or with `keep_empty` kept, to be counted. Raises UserError.
    """
    for file in find(path, encoding=encoding).files:
        for record in read_part(file, encoding=encoding, key=key):
            if record.text or keep_empty:
                yield record


def read_part(part: Part, *, encoding: str = "utf-8", key: str = "") -> Iterator[Record]:
    """Streams the stories of a part of a file, stripped, empty ones included; raises UserError."""
    for record in _read(part, encoding, key):
        text = record.text.strip()
        yield record if len(text) == len(record.text) else dataclasses.replace(record, text=text)


def _read(part: Part, encoding: str, key: str) -> Iterator[Record]:
    if part.layout == "parquet":
        return _read_parquet(part, key)
    texts = decoding.decoded(part.path, encoding, part.start, part.end)
    match part.layout:
        case "jsonl":
            return _read_jsonl(part, decoding.lines(part.path, texts), key)
        case "json":
            return _read_json(part, texts, key)
        case "csv":
            return _read_csv(part.path, decoding.lines(part.path, texts), key)
        case "instruct":
            return map(_from_instruct, decoding.pieces(part.path, texts, _SEPARATOR))
    separator = _SEPARATOR if part.layout == SEPARATOR else _BLANK_LINES
    return map(Record, decoding.pieces(part.path, texts, separator))


@contextlib.contextmanager
def _placed(place: str) -> Generator[None]:
    """Puts the place before an error that begins after it."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{place}{error}") from None


def _read_jsonl(part: Part, lines: Iterator[str], key: str) -> Iterator[Record]:
    for number, line in enumerate(lines):
        if line.isspace():
            continue
        try:
            row = _json_object(line)
            record = from_row(row, text_key(row, key, "key"))
        except UserError as error:
            first = decoding.line_number(part.path, part.start)
            raise UserError(f"'{part.path}', line {first + number}{error}") from None
        yield record


def _json_object(line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(
            f" is not valid JSON ({error.msg}, column {error.colno}); each line must be one JSON object"
        ) from None
    if not isinstance(row, dict):
        raise UserError(" is not a JSON object; each line must be one, with a text key")
    return row


def _read_json(part: Part, texts: Iterator[str], key: str) -> Iterator[Record]:
    """Reads a JSON list of objects, one object at a time."""
    for number, row in enumerate(_json_items(part.path, texts), 1):
        with _placed(f"'{part.path}', item {number}"):
            if not isinstance(row, dict):
                raise UserError(" is not a JSON object; the list must hold objects, with a text key")
            record = from_row(row, text_key(row, key, "key"))
        yield record


def _json_items(path: epath.Path, texts: Iterator[str]) -> Iterator[Any]:
    decoder = json.JSONDecoder()
    text = ""
    while not text and (more := next(texts, None)) is not None:
        text = more.lstrip()
    if not text.startswith("["):
        raise UserError(f"'{path}' is not a JSON list; give a list of objects, or one a line in a .jsonl")
    at, number = 1, 0
    while True:
        while text[at : at + 1] in _BETWEEN_ITEMS and at < len(text):
            at += 1
        if text.startswith("]", at):
            return
        try:
            item, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            more = next(texts, None)  # the item may go on in the next block
            if more is None or len(text) - at > decoding.MAX_STORY:
                raise UserError(
                    f"'{path}' is not valid JSON ({error.msg}, in item {number + 1}); it may be cut off: "
                    "fetch or write it again"
                ) from None
            text, at = text[at:] + more, 0
            continue
        number += 1
        yield item


def _from_instruct(piece: str) -> Record:
    """Returns the record of a published example; the text is empty where no story can be told from it."""
    try:
        fields, story = instruct.parse(piece)
    except UserError:
        return Record("")  # counted with the empty ones: a release isn't refused for a damaged example
    known: dict[str, Any] = dict(fields)
    return Record(story, **known, given=tuple(fields))


def _read_csv(path: epath.Path, lines: Iterator[str], key: str) -> Iterator[Record]:
    csv.field_size_limit(decoding.MAX_STORY)
    rows = csv.reader(lines, strict=True)
    try:
        columns = next(rows, [])
        with _placed(f"'{path}'"):
            key = text_key(columns, key, "column")
        for values in rows:
            with _placed(f"'{path}', line {rows.line_num}"):
                if len(values) != len(columns):
                    raise UserError(
                        f" ends a row of {len(values)} fields where the header has "
                        f"{len(columns)}; quote fields that hold commas, or save the file as .jsonl"
                    )
                record = from_row(dict(zip(columns, values, strict=True)), key)
            yield record
    except csv.Error as error:
        raise UserError(
            f"'{path}', line {rows.line_num} is not valid CSV ({error}); "
            'double the quotes inside a field (""), or save the file as .jsonl'
        ) from None


def _read_parquet(part: Part, key: str) -> Iterator[Record]:
    path = part.path
    try:
        with path.open("rb") as file:
            table = pyarrow.parquet.ParquetFile(file)
            columns = table.schema_arrow.names
            with _placed(f"'{path}'"):
                key = text_key(columns, key, "column")
            known = {field.name for field in dataclasses.fields(Record)} | {key, "instruction"}
            groups = range(part.start, table.num_row_groups if part.end is None else part.end)
            wanted = [column for column in columns if column in known]
            number = sum(table.metadata.row_group(i).num_rows for i in range(part.start))
            for batch in table.iter_batches(batch_size=1024, columns=wanted, row_groups=list(groups)):
                for row in batch.to_pylist():
                    number += 1
                    with _placed(f"'{path}', row {number}"):
                        record = from_row(row, key)
                    yield record
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise UserError(
            f"'{path}' is not a readable Parquet file ({_first_line(error)}); "
            "it may be cut off or of another format: fetch or write it again"
        ) from None


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
