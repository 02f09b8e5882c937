"""A story and what is known about it, as one row of a structured file gives it."""

import dataclasses
import re
from collections.abc import Iterable
from typing import Any

from tinyjax.errors import UserError

TEXT_KEYS = ("text", "story")
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
    sentence: str = ""  # a sentence the story was asked to hold
    given: tuple[str, ...] = ()  # kinds of instruction it was published with, in their order


def text_key(keys: Iterable[str], wanted: str, kind: str) -> str:
    """Returns the key of the text: the wanted one, else text or story; UserError when it is absent.

    Errors here and in `from_row` begin after the place, which the caller puts before them.
    """
    keys = list(keys)
    for key in (wanted,) if wanted else TEXT_KEYS:
        if key in keys:
            return key
    missing = f"'{wanted}'" if wanted else " or ".join(f"'{key}'" for key in TEXT_KEYS)
    raise UserError(
        f" has no {kind} {missing}; it has: {', '.join(map(str, keys)) or 'none'}; "
        f"name the {kind} of the text with --text_key=NAME"
    )


def from_row(row: dict[str, Any], key: str) -> Record:
    """Returns the record of a row whose text stands under `key`; UserError when that is no text."""
    text = row[key]
    if not isinstance(text, str):
        raise UserError(
            f": '{key}' is {type(text).__name__}, not text; mend it, or name another key with --text_key=NAME"
        )
    if not text.isascii() and _LONE_SURROGATE.search(text):
        raise UserError(f": '{key}' holds half of a surrogate pair (\\ud800 to \\udfff); mend it")
    if isinstance(instruction := row.get("instruction"), dict):  # as in the all-data release
        row = {**instruction, **row}
    return Record(text, **{name: parse(row[name]) for name, parse in _EXTRAS.items() if row.get(name)})


def _names(value: Any) -> tuple[str, ...]:
    items = value.split(",") if isinstance(value, str) else value
    return tuple(str(item).strip() for item in items)


def _facts(value: Any) -> tuple[tuple[str, str], ...]:
    pairs = [(f["question"], f["answer"]) if isinstance(f, dict) else f for f in value]
    return tuple((str(question), str(answer)) for question, answer in pairs)


def _stripped(value: Any) -> str:
    return str(value).strip()


# What is kept beside the text, where it is present, and how it is read.
_EXTRAS: dict[str, Any] = {
    "words": _names,
    "features": _names,
    "summary": _stripped,
    "source": str,
    "facts": _facts,
    "sentence": _stripped,
}
