"""What lies at a path: which story files, how they are laid out, and where they can be cut in parts."""

import codecs
import dataclasses
import encodings.aliases
import hashlib
import itertools
import re
from collections.abc import Iterator
from typing import Literal

import pyarrow.parquet
from etils import epath

from tinyjax import instruct
from tinyjax.errors import UserError, nearest
from tinyjax.textio import decoding

Layout = Literal["<|endoftext|>", "blank lines", "instruct", "jsonl", "json", "csv", "parquet"]

SEPARATOR = "<|endoftext|>"
_SUFFIXES = (".txt", ".jsonl", ".json", ".csv", ".parquet")
_HEAD = 1 << 16
_PROBE = 1 << 14  # bytes read at a time in search of a place to cut
_BLANK_LINES = re.compile(rb"\n[ \t\r\f\v]*\n\s*")

# Where a text file can be cut: after a match.
_CUTS: dict[Layout, re.Pattern[bytes]] = {
    "<|endoftext|>": re.compile(re.escape(SEPARATOR.encode())),
    "instruct": re.compile(re.escape(SEPARATOR.encode())),
    "blank lines": _BLANK_LINES,
    "jsonl": re.compile(rb"\n"),
}

_LAYOUT_NAMES: dict[Layout, str] = {
    "<|endoftext|>": "stories separated by <|endoftext|>",
    "blank lines": "stories separated by blank lines (no <|endoftext|> found)",
    "instruct": "stories with instructions, separated by <|endoftext|>",
    "jsonl": "a JSON object a line",
    "json": "a JSON list of objects",
    "csv": "a story a CSV row",
    "parquet": "a story a Parquet row",
}


@dataclasses.dataclass(frozen=True)
class Part:
    """A file of stories or a part of one that can be read by itself.

    `start` and `end` (None: the end of the file) are bytes, of a Parquet file row groups.
    """

    path: epath.Path
    layout: Layout
    start: int = 0
    end: int | None = None


@dataclasses.dataclass(frozen=True)
class Found:
    """The story files at a path, in reading order, and the files there that hold none."""

    files: tuple[Part, ...]
    skipped: tuple[epath.Path, ...] = ()

    def describe(self) -> str:
        """Returns what was found, as in `2 files, stories separated by <|endoftext|>`."""
        count = f"{len(self.files)} files" if len(self.files) > 1 else f"'{self.files[0].path.name}'"
        layouts = dict.fromkeys(_LAYOUT_NAMES[file.layout] for file in self.files)
        skipped = f"; skipped {', '.join(p.name for p in self.skipped[:5])}" if self.skipped else ""
        more = f" and {len(self.skipped) - 5} more" if len(self.skipped) > 5 else ""
        return f"{count}, {' and '.join(layouts)}{skipped}{more}"


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
    return Found(tuple(Part(p, _layout(p, encoding)) for p in paths), skipped)


def cut(file: Part, size: int, encoding: str = "utf-8") -> list[Part]:
    """Cuts a file into parts of about `size` bytes, the same ones on every machine.

    What can't be cut without being read (CSV, JSON lists, most multi-byte encodings) stays whole.
    """
    if file.layout == "parquet":
        return _cut_parquet(file, size)
    if file.layout not in _CUTS or not decoding.is_single_byte_or_utf8(encoding):
        return [file]
    length = file.path.stat().length
    borders = sorted({0, length, *_borders(file.path, _CUTS[file.layout], size, length)})
    return [dataclasses.replace(file, start=start, end=end) for start, end in itertools.pairwise(borders)]


def _borders(path: epath.Path, separator: re.Pattern[bytes], size: int, length: int) -> Iterator[int]:
    """Yields the end of the first separator at or after each multiple of `size`."""
    with path.open("rb") as file:
        border = size
        while border < length:
            file.seek(border)
            data = b""
            while block := file.read(_PROBE):
                data += block
                found = separator.search(data)
                if found and found.end() < len(data):  # blanks may go on in the next block
                    break
            else:
                return
            border += found.end()
            yield border
            border += size


def _cut_parquet(file: Part, size: int) -> list[Part]:
    with file.path.open("rb") as opened:
        try:
            metadata = pyarrow.parquet.ParquetFile(opened).metadata
        except (pyarrow.ArrowException, OSError):
            return [file]  # reading it says what is wrong
        sizes = [metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)]
    parts, start, taken = [], 0, 0
    for group, group_size in enumerate(sizes, 1):
        taken += group_size
        if taken >= size or group == len(sizes):
            parts.append(dataclasses.replace(file, start=start, end=group))
            start, taken = group, 0
    return parts or [file]


def files_below(folder: epath.Path) -> list[epath.Path]:
    """Returns the files in a folder and its folders, sorted; works on gs:// too."""
    return [
        file for path in sorted(folder.iterdir()) for file in (files_below(path) if path.is_dir() else [path])
    ]


def sha256(path: epath.Path) -> str:
    """Returns the hex SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    for block in decoding.blocks(path):
        digest.update(block)
    return digest.hexdigest()


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
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return "parquet"
    _check_text(path, encoding)
    structured: dict[str, Layout] = {".jsonl": "jsonl", ".json": "json", ".csv": "csv"}
    return structured[suffix] if suffix in structured else _layout_of_text(path, encoding)


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


def _layout_of_text(path: epath.Path, encoding: str) -> Layout:
    tail, head = "", ""
    for text in decoding.decoded(path, encoding):
        head = head or text
        text = tail + text
        if SEPARATOR in text:
            return "instruct" if instruct.is_instruct(head.split(SEPARATOR)[0]) else SEPARATOR
        tail = text[-len(SEPARATOR) :]
    return "blank lines"
