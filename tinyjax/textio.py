"""Stories from the files people have: .txt, .jsonl, .csv, .parquet, or a folder of these.

`find` says what lies at a path and how it is laid out; `read` streams it, a story at a time, in
little memory however large the file. Whatever can't be read is an error that names the file, the
place in it and the mend; nothing is skipped in silence.
"""

import codecs
import csv
import dataclasses
import encodings.aliases
import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet
from etils import epath

from tinyjax.errors import UserError, nearest

Layout = Literal["<|endoftext|>", "blank lines", "jsonl", "csv", "parquet"]

SEPARATOR = "<|endoftext|>"
TEXT_KEYS = ("text", "story")
MAX_STORY = 1 << 26  # characters; what is longer is a file without separators, not a story
_SUFFIXES = (".txt", ".jsonl", ".csv", ".parquet")
_BLOCK = 1 << 20
_HEAD = 1 << 16
_BLANK_LINES = re.compile(r"\n[^\S\n]*\n\s*")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclasses.dataclass(frozen=True)
class Record:
    """A story and what is known about it."""

    text: str
    words: tuple[str, ...] = ()  # words the story was asked to use
    features: tuple[str, ...] = ()  # features the story was asked to have
    summary: str = ""
    source: str = ""  # who or what wrote it
    facts: tuple[tuple[str, str], ...] = ()  # questions about the story and their answers


@dataclasses.dataclass(frozen=True)
class StoryFile:
    """A file of stories and how they are laid out in it."""

    path: epath.Path
    layout: Layout


@dataclasses.dataclass(frozen=True)
class Found:
    """The story files at a path, in reading order, and the files there that hold none."""

    files: tuple[StoryFile, ...]
    skipped: tuple[epath.Path, ...] = ()

    def describe(self) -> str:
        """Returns what was found, as in `2 files, stories separated by <|endoftext|>`."""
        count = f"{len(self.files)} files" if len(self.files) > 1 else f"'{self.files[0].path.name}'"
        layouts = dict.fromkeys(_LAYOUT_NAMES[file.layout] for file in self.files)
        skipped = f"; skipped {', '.join(p.name for p in self.skipped[:5])}" if self.skipped else ""
        more = f" and {len(self.skipped) - 5} more" if len(self.skipped) > 5 else ""
        return f"{count}, {' and '.join(layouts)}{skipped}{more}"


_LAYOUT_NAMES: dict[Layout, str] = {
    "<|endoftext|>": "stories separated by <|endoftext|>",
    "blank lines": "stories separated by blank lines (no <|endoftext|> found)",
    "jsonl": "a JSON object a line",
    "csv": "a story a CSV row",
    "parquet": "a story a Parquet row",
}


def find(path: epath.PathLike, *, encoding: str = "utf-8") -> Found:
    """Returns the story files at `path` (a file, or a folder searched to the bottom, sorted).

    A .txt is separated by `<|endoftext|>` if that occurs anywhere in it, else by blank lines.
    Raises UserError where there is nothing to read.
    """
    root = epath.Path(path)
    _check_encoding(encoding)
    if root.is_dir():
        names = [path for path in files_below(root) if not _hidden(path, root)]
        paths = [p for p in names if p.suffix.lower() in _SUFFIXES]
        if not paths:
            raise UserError(f"folder '{root}' holds no story file; put {_known_suffixes()} there")
        skipped = tuple(p for p in names if p not in set(paths))
    elif not root.exists():
        raise UserError(f"no such file or folder: '{root}'; check the path")
    elif root.suffix.lower() in _SUFFIXES:
        paths, skipped = [root], ()
    else:
        raise UserError(
            f"'{root}' ends in {root.suffix or 'no suffix'}, which tells no known format; "
            f"name it {_known_suffixes()}"
        )
    return Found(tuple(StoryFile(p, _layout(p, encoding)) for p in paths), skipped)


def read(
    path: epath.PathLike, *, encoding: str = "utf-8", text_key: str = "", keep_empty: bool = False
) -> Iterator[Record]:
    """Streams the stories at `path`, stripped of surrounding whitespace, in file order.

    `text_key` names the JSON key or the column of the text (default: text, then story). Empty
    stories are left out, or with `keep_empty` kept, to be counted. Raises UserError.
    """
    for file in find(path, encoding=encoding).files:
        for record in _read_file(file, encoding, text_key):
            stripped = dataclasses.replace(record, text=record.text.strip())
            if stripped.text or keep_empty:
                yield stripped


def files_below(folder: epath.Path) -> list[epath.Path]:
    """Returns the files in a folder and its folders, sorted; works on gs:// too."""
    return [
        file for path in sorted(folder.iterdir()) for file in (files_below(path) if path.is_dir() else [path])
    ]


def sha256(path: epath.Path) -> str:
    """Returns the hex SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    for block in _blocks(path):
        digest.update(block)
    return digest.hexdigest()


def _read_file(file: StoryFile, encoding: str, text_key: str) -> Iterator[Record]:
    if file.layout == "parquet":
        return _read_parquet(file.path, text_key)
    if file.layout == "jsonl":
        return _read_jsonl(file.path, encoding, text_key)
    if file.layout == "csv":
        return _read_csv(file.path, encoding, text_key)
    separator = re.compile(re.escape(SEPARATOR)) if file.layout == SEPARATOR else _BLANK_LINES
    return (Record(text) for text in _pieces(file.path, encoding, separator))


# Which files, and how they are laid out.


def _hidden(path: epath.Path, root: epath.Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.relative_to(root).parts)


def _known_suffixes() -> str:
    return f"{', '.join(_SUFFIXES[:-1])} or {_SUFFIXES[-1]}"


def _check_encoding(encoding: str) -> None:
    try:
        codecs.getincrementaldecoder(encoding)
    except LookupError:
        hint = nearest(encoding, encodings.aliases.aliases.values())
        raise UserError(
            f"no encoding is named '{encoding}'{hint}; name one that Python knows, such as cp1252"
        ) from None


def _layout(path: epath.Path, encoding: str) -> Layout:
    if path.stat().length == 0:
        raise UserError(f"'{path}' is empty; give a file that holds stories")
    match path.suffix.lower():
        case ".parquet":
            return "parquet"
        case ".jsonl":
            _check_text(path, encoding)
            return "jsonl"
        case ".csv":
            _check_text(path, encoding)
            return "csv"
    _check_text(path, encoding)
    return SEPARATOR if _contains_separator(path, encoding) else "blank lines"


def _check_text(path: epath.Path, encoding: str) -> None:
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and "16" not in encoding:
        raise UserError(f"'{path}' is UTF-16 text; read it with --encoding=utf-16")
    if b"\0" in head and not re.search("16|32", encoding):
        raise UserError(
            f"'{path}' is a binary file (byte {head.index(0)} is NUL); give text: unpack or "
            f"convert it, and name it {_known_suffixes()}"
        )


def _contains_separator(path: epath.Path, encoding: str) -> bool:
    tail = ""
    for text in _decoded(path, encoding):
        text = tail + text
        if SEPARATOR in text:
            return True
        tail = text[-len(SEPARATOR) :]
    return False


# Bytes to text.


def _blocks(path: epath.Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block


def _decoded(path: epath.Path, encoding: str) -> Iterator[str]:
    """Yields the text of a file in blocks, line ends made `\\n`, a byte order mark removed."""
    if codecs.lookup(encoding).name == "utf-8":
        encoding = "utf-8-sig"
    decoder = codecs.getincrementaldecoder(encoding)()
    newlines = io.IncrementalNewlineDecoder(decoder, translate=True)
    position = lines = 0
    for block in _blocks(path):
        position += len(block)
        try:
            text = newlines.decode(block)
        except UnicodeDecodeError as error:
            raise _not_decodable(path, error, position, lines) from None
        lines += text.count("\n")
        yield text
    try:
        yield newlines.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise _not_decodable(path, error, position, lines) from None


def _not_decodable(path: epath.Path, error: UnicodeDecodeError, position: int, lines: int) -> UserError:
    offset = position - len(error.object) + error.start
    line = lines + error.object[: error.start].count(b"\n") + 1
    name = "UTF-8" if error.encoding.startswith("utf-8") else error.encoding
    return UserError(
        f"'{path}' is not {name}: byte 0x{error.object[error.start]:02x} at offset {offset} "
        f"(line {line}); {_encoding_hint(error.object)}"
    )


def _encoding_hint(data: bytes) -> str:
    for encoding in ("utf-8", "cp1252", "cp1251"):
        try:
            data.decode(encoding)
        except UnicodeDecodeError:
            continue
        return f"name its encoding, for example --encoding={encoding} (which can decode it)"
    return "name its encoding with --encoding=NAME, or convert it to UTF-8"


def _pieces(path: epath.Path, encoding: str, separator: re.Pattern[str]) -> Iterator[str]:
    """Yields what stands between separators; a blank rest at the end of the file is nothing."""
    rest = ""
    for text in _decoded(path, encoding):
        *pieces, rest = separator.split(rest + text)
        yield from pieces
        _check_length(path, rest)
    if rest.strip():
        yield rest


def _lines(path: epath.Path, encoding: str) -> Iterator[str]:
    """Yields the lines of a file, each with its `\\n`; only that character ends a line."""
    rest = ""
    for text in _decoded(path, encoding):
        *lines, rest = (rest + text).split("\n")
        yield from (line + "\n" for line in lines)
        _check_length(path, rest)
    if rest:
        yield rest


def _check_length(path: epath.Path, text: str) -> None:
    if len(text) > MAX_STORY:
        raise UserError(
            f"'{path}' has more than {MAX_STORY >> 20} MB without a separator, which is no story; "
            f"separate the stories by {SEPARATOR} or, where that never occurs, by blank lines"
        )


# The structured formats.


def _read_jsonl(path: epath.Path, encoding: str, text_key: str) -> Iterator[Record]:
    for number, line in enumerate(_lines(path, encoding), 1):
        if line.isspace():
            continue
        where = f"'{path}', line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(
                f"{where} is not valid JSON ({error.msg}, column {error.colno}); "
                "each line must be one JSON object"
            ) from None
        if not isinstance(row, dict):
            raise UserError(f"{where} is not a JSON object; each line must be one, with a text key")
        yield _record(row, _text_key(row, text_key, where, "key"), where)


def _read_csv(path: epath.Path, encoding: str, text_key: str) -> Iterator[Record]:
    csv.field_size_limit(MAX_STORY)
    rows = csv.reader(_lines(path, encoding), strict=True)
    try:
        columns = next(rows, [])
        key = _text_key(columns, text_key, f"'{path}'", "column")
        for values in rows:
            where = f"'{path}', line {rows.line_num}"
            if len(values) != len(columns):
                raise UserError(
                    f"{where} ends a row of {len(values)} fields where the header has "
                    f"{len(columns)}; quote fields that hold commas, or save the file as .jsonl"
                )
            yield _record(dict(zip(columns, values, strict=True)), key, where)
    except csv.Error as error:
        raise UserError(
            f"'{path}', line {rows.line_num} is not valid CSV ({error}); "
            'double the quotes inside a field (""), or save the file as .jsonl'
        ) from None


def _read_parquet(path: epath.Path, text_key: str) -> Iterator[Record]:
    try:
        with path.open("rb") as file:
            table = pyarrow.parquet.ParquetFile(file)
            columns = table.schema_arrow.names
            key = _text_key(columns, text_key, f"'{path}'", "column")
            wanted = [c for c in columns if c == key or c in _EXTRAS]
            number = 0
            for batch in table.iter_batches(batch_size=1024, columns=wanted):
                for row in batch.to_pylist():
                    number += 1
                    yield _record(row, key, f"'{path}', row {number}")
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise UserError(
            f"'{path}' is not a readable Parquet file ({_first_line(error)}); "
            "it may be cut off or of another format: fetch or write it again"
        ) from None


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__


def _text_key(keys: Iterable[str], wanted: str, where: str, kind: str) -> str:
    keys = list(keys)
    for key in (wanted,) if wanted else TEXT_KEYS:
        if key in keys:
            return key
    missing = f"'{wanted}'" if wanted else " or ".join(f"'{key}'" for key in TEXT_KEYS)
    raise UserError(
        f"{where} has no {kind} {missing}; it has: {', '.join(map(str, keys)) or 'none'}; "
        f"name the {kind} of the text with --text_key=NAME"
    )


def _record(row: dict[str, Any], key: str, where: str) -> Record:
    text = row[key]
    if not isinstance(text, str):
        raise UserError(
            f"{where}: '{key}' is {type(text).__name__}, not text; "
            "mend the line, or name another with --text_key=NAME"
        )
    if not text.isascii() and _LONE_SURROGATE.search(text):
        raise UserError(f"{where}: '{key}' holds half of a surrogate pair (\\ud800 to \\udfff); mend it")
    return Record(text, **{name: parse(row[name]) for name, parse in _EXTRAS.items() if row.get(name)})


def _names(value: Any) -> tuple[str, ...]:
    items = value.split(",") if isinstance(value, str) else value
    return tuple(str(item).strip() for item in items)


def _facts(value: Any) -> tuple[tuple[str, str], ...]:
    pairs = [(f["question"], f["answer"]) if isinstance(f, dict) else f for f in value]
    return tuple((str(question), str(answer)) for question, answer in pairs)


# What is kept beside the text, where it is present, and how it is read.
_EXTRAS: dict[str, Any] = {
    "words": _names,
    "features": _names,
    "summary": str,
    "source": str,
    "facts": _facts,
}
