"""Grades and an age group, read from whatever form a judge gives them in; never guessed."""

import dataclasses
import re
from collections.abc import Sequence

NAMES = ("grammar", "creativity", "consistency", "plot")
BEST = 10

# Age groups of the paper, section 3.
AGES = {"A": "3 or younger", "B": "4-5", "C": "6-7", "D": "8-9", "E": "10-12", "F": "13-16"}

_NUMBER = r"(?P<number>\d+(?:[.,]\d+)?)"
_OUT_OF = r"\s*\(?\s*(?:/|out\s+of|of)\s*(?P<best>\d+)"
# A second number would make it a range, or a share of something else.
_ALONE = r"(?!\s*(?:%|/|-|–|to\b|or\b|\(?\s*out\b)\s*\d|[.,]?\d|%)"
_VALUE = re.compile(rf"^[\s*_\"'`]*{_NUMBER}(?:{_OUT_OF})?[\s*_\"'`.,;)]*$", re.IGNORECASE)
# What may stand between a name and its grade: "consistency with the opening (from 0 to 10):** ",
# `grammar": {"score": `. Not another name, whose grade it would be.
_GAP = rf"(?:(?!{'|'.join(NAMES)}|\bage\b)[^\d:=|\n,.;{{}}()]){{0,50}}(?:\([^()\n]*\))?[\s*_\"'`]*"
_SIGN = r"[:=|–—-][\s*_\"'`{]*(?:(?:score|grade|marks?|rating)[\"'\s]*:\s*)?"
_NAMED = (
    rf"{_GAP}{_SIGN}{_NUMBER}(?:{_OUT_OF})?{_ALONE}",
    rf"(?:[\s*_]+(?:is|gets))?[\s*_]+{_NUMBER}{_OUT_OF}{_ALONE}",
)
_AGE = re.compile(
    r"(?<![a-z])age(?:[\s_]*groups?)?\b[\"'\s*_]*(?:is\b|[:=|–—-])?\s*([^\n;}]{0,40})", re.IGNORECASE
)
_LETTER = re.compile(r"(?<![A-Za-z\\])[A-F](?![A-Za-z'’])")


class UnreadableError(ValueError):
    """A reply holds no grades; says what is missing, in words that a judge understands too."""


@dataclasses.dataclass(frozen=True)
class Grades:
    """What a judge thinks of a story: grades from 0 to 10, and how old its writer might be."""

    values: dict[str, float]  # by name
    age: str | None  # a letter of AGES; None: it didn't say, or more than one


def read_grades(reply: str, names: Sequence[str] = NAMES) -> Grades:
    """Returns the grades in a reply: JSON, a line, a list or a table, with or without Markdown.

    Raises:
      UnreadableError: one is missing, given twice with different values, or not from 0 to 10.
    """
    return Grades({name: _named(name, reply) for name in names}, _named_age(reply))


def read_value(text: str) -> float:
    """Returns a grade that stands alone: `8`, `8.5/10`, `8 out of 10`.

    Raises:
      UnreadableError: it is something else, or not from 0 to 10.
    """
    found = _VALUE.match(text)
    if not found:
        raise UnreadableError(f"{text.strip()[:40]!r} is no grade")
    return _in_range(found, f"{text.strip()[:40]!r}")


def read_age(text: str) -> str | None:
    r"""Returns the age group in a text: `C`, `C: 6-7.`, `C (6-7)\n`, `10-12`; None for none or several.

    The letter counts where both are given and disagree, since a letter is what was asked for.
    """
    letters = set(_LETTER.findall(text))
    if not letters:
        ages = text.replace("–", "-").replace("under", "younger")
        letters = {letter for letter, years in AGES.items() if re.search(rf"(?<!\d){years}(?!\d)", ages)}
    return letters.pop() if len(letters) == 1 else None


def _named(name: str, reply: str) -> float:
    """Returns the grade with a name."""
    values = {
        _in_range(found, name)
        for rest in _NAMED
        for found in re.finditer(rf"(?<![A-Za-z]){name}{rest}", reply, re.IGNORECASE)
    }
    if not values:
        raise UnreadableError(f"{name} has no grade from 0 to {BEST}")
    if len(values) > 1:
        raise UnreadableError(f"{name} has {len(values)} different grades")
    return values.pop()


def _in_range(found: re.Match[str], what: str) -> float:
    value = float(found["number"].replace(",", "."))
    if int(found["best"] or BEST) != BEST or value > BEST:
        raise UnreadableError(f"{what} is not from 0 to {BEST}")
    return value


def _named_age(reply: str) -> str | None:
    ages = {read_age(found[1]) for found in _AGE.finditer(reply)} - {None}
    return ages.pop() if len(ages) == 1 else None
