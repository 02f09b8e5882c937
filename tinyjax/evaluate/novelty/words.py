"""How a text is cut into words, and a story into its beginning and its ending.

The paper doesn't say how it cuts words. Here they are those of ROUGE's usual implementation (`rouge_score`
without stemming): lower-cased runs of letters and digits, all else separates. So "Don't!" is "don", "t".
Letters of any alphabet are letters here.
"""

import re
from typing import NamedTuple

_WORD = re.compile(r"[^\W_]+")
_TABLE = "".join(chr(i).lower() if chr(i).isalnum() else " " for i in range(128))
_KEPT = 0.4  # of the story's words, "roughly the first 40%" (section 4.4.1)


class Cut(NamedTuple):
    """A story in two."""

    beginning: str
    ending: str


def cut_words(text: str) -> list[str]:
    """Returns the words of a text."""
    if text.isascii():  # more than twice as fast as the expression
        return text.translate(_TABLE).split()
    return [word.lower() for word in _WORD.findall(text)]


def span(text: str, start: int, count: int) -> str:
    """Returns the part of a text from one of its words on, so many words long, as it is written."""
    words = list(_WORD.finditer(text))[start : start + count]
    return text[words[0].start() : words[-1].end()] if words else ""


def cut_story(story: str) -> Cut | None:
    """Returns a story cut after 40 % of what stands between spaces; None where either part has no word."""
    ends = [match.end() for match in re.finditer(r"\S+", story)]
    kept = round(_KEPT * len(ends))
    if not kept:
        return None
    cut = Cut(story[: ends[kept - 1]], story[ends[kept - 1] :])
    return cut if all(map(cut_words, cut)) else None
