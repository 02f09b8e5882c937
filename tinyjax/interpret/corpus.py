"""A sample of stories to look inside with: a row a story, and the word class of every token.

No tagger is needed. Names are words with a capital inside a sentence; other classes come from a closed list:
the story world's lexicon, and the words below that TinyStories says often. What isn't in it is OTHER, so that
shares by class are of words that are known, not of all there are.
Axes: N stories, T positions.
"""

import dataclasses
import enum
import functools
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from tinyjax.errors import UserError
from tinyjax.stories.world import grammar, lexicon
from tinyjax.tokenizer import Tokenizer

_WIDTHS = 128  # batches are multiples of so many tokens wide


class WordClass(enum.IntEnum):
    """What kind of word a token is in, all pieces of a word alike."""

    OTHER = 0
    NAME = 1
    NOUN = 2
    VERB = 3
    ADJECTIVE = 4
    PRONOUN = 5
    ARTICLE = 6
    PUNCTUATION = 7


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Stories, one a row from bos on, cut at the width."""

    texts: tuple[str, ...]  # what each row holds: a long story's beginning
    tokens_NT: np.ndarray  # int32
    targets_NT: np.ndarray  # int32: the next token, the end included; counts where the segment is not 0
    segments_NT: np.ndarray  # int32: 1, and 0 for padding
    tags_NT: np.ndarray  # int8: WordClass
    starts_NT: np.ndarray  # int32: the byte of the row's UTF-8 text at which a token's own begin

    @property
    def num_tokens(self) -> int:
        """Positions that are no padding."""
        return int(np.count_nonzero(self.segments_NT))

    def rows(self, rows_B: np.ndarray) -> "Corpus":
        """Returns some rows, as wide as the longest of them needs; one beyond the last is padding."""
        width = _width(self.segments_NT[rows_B[rows_B < len(self.texts)]])
        arrays = {
            field.name: take_rows(getattr(self, field.name), rows_B, width)
            for field in dataclasses.fields(self)[1:]
        }
        return Corpus(tuple(self.texts[row] for row in rows_B if row < len(self.texts)), **arrays)

    def batches(self, size: int) -> Iterator[tuple[np.ndarray, "Corpus"]]:
        """Yields `size` rows at a time, those of about the same length together, and which they are.

        Stories differ much in length, and attention goes by its square. Batches are of few widths, as each is
        a program; the last one of a width is filled up with padding, whose number is that of no row.
        """
        widths_N = np.array([_width(row_1T) for row_1T in self.segments_NT[:, None]])
        for width in np.unique(widths_N):
            alike = np.flatnonzero(widths_N == width)
            filled = np.pad(alike, (0, -len(alike) % size), constant_values=len(self.texts))
            for rows_B in filled.reshape(-1, size):
                yield rows_B, self.rows(rows_B)


def _width(segments_NT: np.ndarray) -> int:
    """Returns how wide rows are that hold these: the longest, rounded up."""
    longest = int((segments_NT > 0).sum(axis=1).max())
    return min(math.ceil(longest / _WIDTHS) * _WIDTHS, segments_NT.shape[1])


def take_rows(array_NT: np.ndarray, rows_B: np.ndarray, width: int) -> np.ndarray:
    """Returns rows of an array, cut at a width; a row beyond the last is of zeros."""
    taken_BT = array_NT[np.minimum(rows_B, len(array_NT) - 1), :width]
    return np.where((rows_B < len(array_NT))[:, None], taken_BT, 0).astype(array_NT.dtype)


def corpus(
    tokenizer: Tokenizer,
    texts: Sequence[str],
    length: int,
    tags: Sequence[Mapping[str, WordClass]] | None = None,
) -> Corpus:
    """Returns stories as rows; T is the longest one's tokens, and `length` at most.

    Args:
      tokenizer: the model's.
      texts: stories.
      length: tokens of a story that are looked at; at most the model's context.
      tags: of each story, the classes of words that are known of it (see `classes_of`); the list counts for
        others.

    Raises:
      UserError: there are no stories, or only empty ones.
    """
    if not any(texts):
        raise UserError("there are no stories to look inside with, or only empty ones; give at least one")
    ids = [[tokenizer.bos_id, *tokenizer.encode(text).tolist(), tokenizer.eos_id] for text in texts]
    width = min(length, max(map(len, ids)) - 1)
    rows = [row[: width + 1] for row in ids]
    spans = [_spans(tokenizer, row[:-1]) for row in rows]
    classes = [
        _classes(data, starts, {} if tags is None else tags[i]) for i, (data, starts) in enumerate(spans)
    ]
    return Corpus(
        texts=tuple(data.decode("utf-8", errors="replace") for data, _ in spans),
        tokens_NT=_padded([row[:-1] for row in rows], width),
        targets_NT=_padded([row[1:] for row in rows], width),
        segments_NT=_padded([[1] * (len(row) - 1) for row in rows], width),
        tags_NT=_padded(classes, width, np.int8),
        starts_NT=_padded([starts for _, starts in spans], width),
    )


def classes_of(words: Sequence[str]) -> dict[str, WordClass]:
    """Returns the classes of the words a story was asked to use: verb (in all its forms), noun, adjective.

    So they stand in the records of the story world and of TinyStories (section 2 of the paper); of other than
    three words nothing is known.
    """
    if len(words) != 3:
        return {}
    verb, noun, adjective = words
    forms = dict.fromkeys(grammar.forms(verb), WordClass.VERB)
    return {adjective: WordClass.ADJECTIVE} | forms | {noun: WordClass.NOUN}


def _padded(rows: Sequence[Sequence[int]], width: int, dtype: type = np.int32) -> np.ndarray:
    padded = np.zeros((len(rows), width), dtype)
    for target, row in zip(padded, rows, strict=True):
        target[: len(row)] = row
    return padded


def _spans(tokenizer: Tokenizer, ids: Sequence[int]) -> tuple[bytes, list[int]]:
    """Returns the bytes of ids, and where each one's begin: by what ids stand for, as an id may lose text."""
    data = tokenizer.decode_bytes(ids)
    lengths = [len(tokenizer.piece_bytes[i]) for i in ids]
    prefix = sum(lengths) - len(data)  # what the tokenizer puts before a text
    return data, np.maximum(np.cumsum([0, *lengths[:-1]]) - prefix, 0).tolist()


_WORD = re.compile(rb"[A-Za-z]+|[^\sA-Za-z0-9\x80-\xff]")
_ENDS = '.!?"'  # an opening quotation mark begins a sentence as well


def _classes(data: bytes, starts: Sequence[int], known: Mapping[str, WordClass]) -> list[int]:
    """Returns the class of each token: that of the word its first byte that is no space lies in."""
    matches = list(_WORD.finditer(data))
    words = [match[0].decode() for match in matches]
    class_at = np.zeros(len(data) + 1, np.int8)
    for match, kind in zip(matches, _classes_of_words(words, known), strict=True):
        class_at[match.start() : match.end()] = kind
    pieces = (data[start:end] for start, end in zip(starts, [*starts[1:], len(data)], strict=True))
    return [
        class_at[start + len(piece) - len(piece.lstrip())] if piece.strip() else WordClass.OTHER
        for start, piece in zip(starts, pieces, strict=True)
    ]


def _classes_of_words(words: Sequence[str], known: Mapping[str, WordClass]) -> list[WordClass]:
    names, classes = _names(words), [WordClass.OTHER]
    for word in words:
        classes.append(WordClass.NAME if word in names else _class(word, known, classes[-1]))
    return classes[1:]


def _names(words: Sequence[str]) -> set[str]:
    """Returns the names of a story: words with a capital inside a sentence; of the listed, those no word."""
    inside = {word for before, word in itertools.pairwise(words) if before not in _ENDS}
    capitals = {word for word in inside if word.istitle() and word.lower() not in (*_PRONOUNS, *_ARTICLES)}
    return capitals | {word for word in words if word in _NAMES and word.lower() not in _listed()}


def _class(word: str, known: Mapping[str, WordClass], previous: WordClass) -> WordClass:
    """Returns the class of a word that is no name, by those it can have and what stands before it."""
    if not word.isalpha():
        return WordClass.PUNCTUATION
    lower = word.lower()
    if lower in known:
        return known[lower]
    possible = _listed().get(lower, (WordClass.OTHER,))
    # "A play", "a big play", but "they play": of words in several lists, what stands before decides.
    described = previous in (WordClass.ARTICLE, WordClass.ADJECTIVE)
    order = (WordClass.ADJECTIVE, WordClass.NOUN) if described else (WordClass.VERB,)
    return next((kind for kind in order if kind in possible), possible[0])


_NAMES = frozenset(
    (*lexicon.GIRLS, *lexicon.BOYS, *lexicon.PETS, *grammar.words("Sue Timmy Tommy Jimmy Bobby Lila Kitty"))
)
_ARTICLES = grammar.words("a an the")
_PRONOUNS = grammar.words(
    """i you he she it we they me him her us them my your his its our their mine yours hers ours theirs
    myself yourself himself herself itself ourselves themselves"""
)
# What TinyStories says often, and the story world's tables of things and skills don't hold.
_NOUNS = grammar.words(
    """girl boy mom mommy dad daddy mama grandma grandpa friend day time toy room door home bed box house
    tree sun sky water rain snow morning night thing name idea game fun food lunch dinner face hand eye head
    leg foot story song color shape dog cat bear fox fish rabbit lion wolf dragon man woman child family
    brother sister baby hole wall road street store shop wind cloud moon floor bath nap fire mess surprise"""
)
_VERBS = grammar.words(
    "be have do want need like love know make hide see let live try bark roar snore hunt pet"
)
_BE = grammar.words("am is are was were been being")


@functools.cache
def _listed() -> dict[str, tuple[WordClass, ...]]:
    """Returns the classes that a word in small letters can have."""
    nouns = {form for noun in (*lexicon.VOCABULARY["noun"], *_NOUNS) for form in (noun, grammar.third(noun))}
    verbs = {form for verb in (*lexicon.VERBS, *_VERBS) for form in grammar.forms(verb)}
    kinds = {
        WordClass.ARTICLE: set(_ARTICLES),
        WordClass.PRONOUN: set(_PRONOUNS),
        WordClass.ADJECTIVE: set(lexicon.VOCABULARY["adjective"]),
        WordClass.NOUN: nouns,
        WordClass.VERB: verbs | set(_BE),
    }
    every = set().union(*kinds.values())
    return {word: tuple(kind for kind, members in kinds.items() if word in members) for word in every}
