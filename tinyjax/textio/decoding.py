"""From bytes to text, in blocks, with the place of whatever can't be decoded."""

import codecs
import io
import re
from collections.abc import Iterator

from etils import epath

from tinyjax.errors import UserError

MAX_STORY = 1 << 26  # characters; what is longer is a file without separators, not a story
BLOCK = 1 << 20  # bytes read at a time


def blocks(path: epath.Path, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """Yields the bytes of a file from `start` to `end` (None: to the end of the file) in blocks."""
    with path.open("rb") as file:
        file.seek(start)
        left = end - start if end is not None else None
        while block := file.read(BLOCK if left is None else min(BLOCK, left)):
            yield block
            left = left - len(block) if left is not None else None


def is_single_byte_or_utf8(encoding: str) -> bool:
    """Tells whether a file can be cut at ASCII characters by looking at its bytes alone."""
    try:
        decoded = bytes(range(256)).decode(encoding, errors="replace")
    except (UnicodeError, LookupError):
        return False
    ascii_as_usual = decoded[:128].encode("ascii", errors="replace") == bytes(range(128))
    return ascii_as_usual and (len(decoded) == 256 or codecs.lookup(encoding).name in ("utf-8", "ascii"))


def decoded(path: epath.Path, encoding: str, start: int = 0, end: int | None = None) -> Iterator[str]:
    """Yields the text of a file in blocks, line ends made `\\n`, a byte order mark removed.

    Raises UserError with the offset and line of what is not in this encoding.
    """
    if codecs.lookup(encoding).name == "utf-8" and start == 0:
        encoding = "utf-8-sig"
    decoder = codecs.getincrementaldecoder(encoding)()
    newlines = io.IncrementalNewlineDecoder(decoder, translate=True)
    position = start
    try:
        for block in blocks(path, start, end):
            position += len(block)
            yield newlines.decode(block)
        yield newlines.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise _not_decodable(path, error, position) from None


def line_number(path: epath.Path, offset: int) -> int:
    """Returns the number, from 1, of the line of a file that the byte at `offset` is in."""
    return 1 + sum(block.count(b"\n") for block in blocks(path, 0, offset))


def _not_decodable(path: epath.Path, error: UnicodeDecodeError, position: int) -> UserError:
    offset = position - len(error.object) + error.start
    name = "UTF-8" if error.encoding.startswith("utf-8") else error.encoding
    return UserError(
        f"'{path}' is not {name}: byte 0x{error.object[error.start]:02x} at offset {offset} "
        f"(line {line_number(path, offset)}); {_encoding_hint(error.object)}"
    )


def _encoding_hint(data: bytes) -> str:
    for encoding in ("utf-8", "cp1252", "cp1251"):
        try:
            data.decode(encoding)
        except UnicodeDecodeError:
            continue
        return f"name its encoding, for example --encoding={encoding} (which can decode it)"
    return "name its encoding with --encoding=NAME, or convert it to UTF-8"


def pieces(path: epath.Path, texts: Iterator[str], separator: re.Pattern[str]) -> Iterator[str]:
    """Yields what stands between separators; a blank rest at the end is nothing."""
    rest = ""
    for text in texts:
        *whole, rest = separator.split(rest + text)
        yield from whole
        _check_length(path, rest)
    if rest.strip():
        yield rest


def lines(path: epath.Path, texts: Iterator[str]) -> Iterator[str]:
    """Yields lines, each with its `\\n`; only that character ends a line."""
    rest = ""
    for text in texts:
        *whole, rest = (rest + text).split("\n")
        yield from (line + "\n" for line in whole)
        _check_length(path, rest)
    if rest:
        yield rest


def _check_length(path: epath.Path, text: str) -> None:
    if len(text) > MAX_STORY:
        raise UserError(
            f"'{path}' has more than {MAX_STORY >> 20} MB without a separator, which is no story; "
            "separate the stories by <|endoftext|> or, where that never occurs, by blank lines"
        )
