"""The layout of TinyStories-Instruct: instructions before a story, and which of them a story gets.

    Features: Dialogue, Twist
    Words: quit, oak, gloomy
    Random sentence: She sat down.
    Summary: Sara and Ben play in the park.
    Story:

    <the story>

After each colon stands a space. Any of the four may be missing, and their order varies (Eldan & Li 2023,
section 2.1).
"""

import functools
import hashlib
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from tinyjax.errors import UserError, nearest

# Kinds of instruction and what their lines begin with.
LABELS = {
    "words": "Words:",
    "features": "Features:",
    "sentence": "Random sentence:",
    "summary": "Summary:",
}
KINDS = tuple(LABELS)
FEATURES = ("Dialogue", "Twist", "BadEnding", "MoralValue", "Foreshadowing", "Conflict")

Value = str | tuple[str, ...]  # words and features are lists
Fields = dict[str, Value]  # by kind, in the order of their lines

_T = TypeVar("_T")
_STORY = "Story:"
_LISTS = ("words", "features")
_KIND_OF = {label: kind for kind, label in LABELS.items()}
_LABEL = re.compile(f"^(?:{'|'.join(map(re.escape, [*LABELS.values(), _STORY]))})", re.MULTILINE)
_LINE_BREAK = re.compile(r"\s*[\r\n]\s*")
_COMMA = re.compile(r"\s*,\s*")
_SENTENCE_END = re.compile(r"(?<!\bMr)(?<!\bMrs)(?<!\bMs)(?<!\bDr)[.!?…][\"'”’»)\]]*\s+")


class Parsed(NamedTuple):
    """A published example, taken apart."""

    fields: Fields
    story: str


def is_instruct(text: str) -> bool:
    """Tells whether a text is in this layout: it begins with an instruction, and a story follows."""
    labels = _LABEL.findall(text.lstrip())
    return text.lstrip().startswith(tuple(LABELS.values())) and _STORY in labels


def parse(text: str) -> Parsed:
    """Returns the instructions of a published example, in their order, and its story, stripped.

    A text without labels is a story without instructions. Raises UserError, which begins after the place
    that the caller puts before it, for instructions that can't be told from the story.
    """
    text = text.strip()
    labels = list(_LABEL.finditer(text))
    names = [label[0] for label in labels]
    if not labels:
        return Parsed({}, text)
    if _STORY not in names:
        raise UserError(f" has the line '{names[0]}' but no '{_STORY}' after it; complete or remove it")
    if labels[0].start():
        line = text.splitlines()[0]
        raise UserError(f" begins with {line[:40]!r}, which is no instruction; use {', '.join(_KIND_OF)}")
    last = names.index(_STORY)
    ends = [label.start() for label in labels[1 : last + 1]]
    fields: Fields = {}
    for label, end in zip(labels[:last], ends, strict=True):
        kind = _KIND_OF[label[0]]
        if kind in fields:
            raise UserError(f" has the line '{label[0]}' twice before its story; join or remove one")
        value = text[label.end() : end].strip()
        fields[kind] = _split(value) if kind in _LISTS else value
    return Parsed(fields, text[labels[last].end() :].strip())


def _split(value: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in value.split(",") if item.strip())


def render(fields: Mapping[str, Value], story: str = "") -> str:
    """Returns an example in the published layout; of what `parse` returned, the same text."""
    return prompt(fields) + story


def prompt(fields: Mapping[str, Value]) -> str:
    """Returns what stands before a story: a line for each instruction, in order, and `Story: `.

    A line ends an instruction, and a comma an item of a list: a line break becomes a space, as does a
    comma within an item, each with the whitespace around it. Without instructions nothing stands there.
    """
    if not fields:
        return ""
    lines = [f"{LABELS[kind]} {_line(value)}\n" for kind, value in fields.items()]
    return f"{''.join(lines)}{_STORY} \n\n"


def _line(value: Value) -> str:
    text = value if isinstance(value, str) else ", ".join(_COMMA.sub(" ", item).strip() for item in value)
    return _LINE_BREAK.sub(" ", text.strip())


def draw(
    available: Iterable[str], key: str, seed: int, hold_out: frozenset[str] = frozenset()
) -> tuple[str, ...]:
    """Draws a non-empty subset of the available kinds in random order: a pure function of seed and key.

    Every subset is as likely as any other, but that none holds all of `hold_out` (the paper's
    experiment with a combination that is never trained on). With nothing available, nothing.
    """
    subsets = _subsets(frozenset(available), hold_out)
    if not subsets:
        return ()
    subset = _choose(subsets, "kinds", key, seed)
    return _choose(list(itertools.permutations(subset)), "order", key, seed)


@functools.cache
def _subsets(available: frozenset[str], hold_out: frozenset[str]) -> list[tuple[str, ...]]:
    kinds = sorted(available, key=KINDS.index)
    sizes = range(1, len(kinds) + 1)
    subsets = itertools.chain.from_iterable(itertools.combinations(kinds, size) for size in sizes)
    return [subset for subset in subsets if not _holds_all(subset, hold_out)]


def _holds_all(kinds: Sequence[str], hold_out: frozenset[str]) -> bool:
    return bool(hold_out) and hold_out <= set(kinds)


def _choose(choices: Sequence[_T], purpose: str, key: str, seed: int) -> _T:
    """Returns a random one; unlike those of `random`, the same in every version of Python."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{key}".encode()).digest()
    return choices[int.from_bytes(digest) % len(choices)]


def parse_hold_out(text: str) -> frozenset[str]:
    """Returns the kinds that `words+summary` names; UserError for what is none."""
    kinds = frozenset(text.split("+")) if text else frozenset()
    mend = f"join two or more of {', '.join(KINDS)} by +"
    for kind in sorted(kinds):
        if kind not in KINDS:
            raise UserError(
                f"--hold_out={text}: '{kind}' is no kind of instruction{nearest(kind, KINDS)}; {mend}"
            )
    if len(kinds) == 1:
        raise UserError(f"--hold_out={text} is one kind; {mend}")
    return kinds


def pick_sentence(story: str, seed: int) -> str:
    """Returns a random sentence of a story as it stands there; empty where there is none.

    It is any but the first (Eldan & Li 2023, section 2.1), and a pure function of story and seed.
    """
    found = list(sentences(story))[1:]
    return _choose(found, "sentence", story, seed) if found else ""


def sentences(story: str) -> Iterator[str]:
    """Yields the sentences of a story, in order, with the quotes that close them; none spans lines.

    What goes on in lower case goes on: `"Hello!" said Tom.` is one.
    """
    for line in story.splitlines():
        ends = [
            end.end() for end in _SENTENCE_END.finditer(line) if not line[end.end() : end.end() + 1].islower()
        ]
        for start, end in itertools.pairwise([0, *ends, len(line)]):
            sentence = line[start:end].strip()
            if any(map(str.isalnum, sentence)):
                yield sentence
