"""Stories from the files people have: .txt, .jsonl, .json, .csv, .parquet, or a folder of these.

`find` says what lies at a path and how it is laid out; `read` streams it, a story at a time, in
little memory however large the file. Whatever can't be read is an error that names the file, the
place in it and the mend; nothing is skipped in silence.
"""

from tinyjax.textio.files import SEPARATOR, Found, Layout, Part, cut, files_below, find, sha256
from tinyjax.textio.reading import read, read_part
from tinyjax.textio.record import TEXT_KEYS, Record

__all__ = [
    "SEPARATOR",
    "TEXT_KEYS",
    "Found",
    "Layout",
    "Part",
    "Record",
    "cut",
    "files_below",
    "find",
    "read",
    "read_part",
    "sha256",
]
