"""The k-grams of a few texts, for which a whole training set can be searched as it streams by.

Each different k-gram has a number: that of the pair of its first k - 1 words, which have a number, and its
last word. What is looked up is compared with the pair itself, so nothing here is approximate.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from tinyjax.evaluate.novelty.words import cut_words

LONGEST = 7  # words of the longest k-grams
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # any odd one with mixed bits does
_SLOTS_PER_KEY = 4


@dataclasses.dataclass(frozen=True)
class Numbers:
    """Numbers 1, 2, ... for different keys, in their order; a hash table with open addressing."""

    keys: np.ndarray  # int64[1 + keys]; -1, which is no key, and the keys in ascending order
    table: np.ndarray  # int32[a power of 2]; the number of a key, where it or those before it left room; or 0

    def find(self, keys: np.ndarray) -> np.ndarray:
        """Returns the numbers of keys, 0 for those that aren't there, int32[keys]."""
        slots = _slots(keys, len(self.table))
        numbers = self.table[slots]
        others = np.flatnonzero((self.keys[numbers] != keys) & (numbers > 0))
        while len(others):
            slots[others] = (slots[others] + 1) & (len(self.table) - 1)
            found = self.table[slots[others]]
            numbers[others] = found
            others = others[(self.keys[found] != keys[others]) & (found > 0)]
        return numbers


def _slots(keys: np.ndarray, size: int) -> np.ndarray:
    """Returns where to look for keys first, int64[keys]."""
    shift = np.uint64(64 - (size - 1).bit_length())
    return ((keys.view(np.uint64) * _FACTOR) >> shift).view(np.int64)


def number(keys: np.ndarray) -> Numbers:
    """Returns numbers for different keys, int64[keys] of at least 0 in ascending order."""
    table = np.zeros(1 << (_SLOTS_PER_KEY * len(keys) + 1).bit_length(), np.int32)
    numbers, slots = np.arange(1, len(keys) + 1, dtype=np.int32), _slots(keys, len(table))
    while len(numbers):
        is_free = table[slots] == 0
        table[slots[is_free]] = numbers[is_free]  # one of those that want a slot gets it
        lost = table[slots] != numbers
        numbers, slots = numbers[lost], (slots[lost] + 1) & (len(table) - 1)
    return Numbers(np.concatenate([[-1], keys]), table)


@dataclasses.dataclass(frozen=True)
class Lists:
    """A list for each number, one after the other."""

    starts: np.ndarray  # int64[numbers + 1]
    members: np.ndarray  # int64[all of them]

    def of(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the lists of numbers, joined: for each member, whose it is (an index), and the member."""
        starts = self.starts[numbers]
        lengths = self.starts[numbers + 1] - starts
        ends = np.cumsum(lengths)
        which = np.repeat(np.arange(len(numbers)), lengths)
        return which, self.members[np.arange(len(which)) + (starts - ends + lengths)[which]]


def _lists(numbers: np.ndarray, members: np.ndarray, size: int) -> Lists:
    """Returns the members of each of the numbers 0, 1, ... below `size`, each once, in ascending order."""
    width = members.max(initial=0) + 1
    pairs = np.unique(numbers * width + members)
    return Lists(np.searchsorted(pairs, np.arange(size + 1) * width), pairs % width)


@dataclasses.dataclass(frozen=True)
class Grams:
    """The different k-grams of all texts."""

    numbers: Numbers | None  # of the pairs (number of the first k - 1 words, last word); None where k is 1
    texts: Lists  # of the texts with each
    places: Lists  # of where each begins in the words of the index

    @property
    def size(self) -> int:
        """The numbers of k-grams are below this."""
        return len(self.texts.starts) - 1


@dataclasses.dataclass(frozen=True)
class Index:
    """What texts are made of."""

    texts: tuple[str, ...]
    vocabulary: dict[str, int]  # words, numbered from 1
    words: np.ndarray  # int64; of all texts, 0 before, between and after them
    owners: np.ndarray  # int64; which text each of `words` is of
    grams: tuple[Grams, ...]  # of 1, 2, ... words

    @property
    def num_texts(self) -> int:
        """How many texts there are."""
        return len(self.texts)

    @property
    def factor(self) -> int:
        """What numbers are multiplied by in pairs."""
        return len(self.vocabulary) + 1


def make_index(texts: Sequence[str]) -> Index:
    """Returns the index of texts, which may be empty."""
    cut = [cut_words(text) for text in texts]
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys(itertools.chain(*cut)), 1)}
    words, owners = to_numbers(vocabulary, cut)
    at = np.flatnonzero(words)
    numbers, known, size = words[at], None, len(vocabulary) + 1
    grams = []
    for k in range(1, LONGEST + 1):
        grams.append(Grams(known, _lists(numbers, owners[at], size), _lists(numbers, at, size)))
        goes_on = words[at + k] > 0
        at, numbers = at[goes_on], numbers[goes_on]
        keys, places = np.unique(numbers * (len(vocabulary) + 1) + words[at + k], return_inverse=True)
        numbers, known, size = places + 1, number(keys), len(keys) + 1
    return Index(tuple(texts), vocabulary, words, owners, tuple(grams))


def to_numbers(vocabulary: dict[str, int], cut: Sequence[Sequence[str]]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the words of texts as numbers, int64, and whose they are; 0 before, between and after them.

    A word that isn't in the vocabulary is 0 too: no k-gram of the index spans it.
    """
    lengths = np.array([len(words) + 1 for words in cut], np.int64)
    joined = itertools.chain.from_iterable(itertools.chain(("",), words) for words in cut)
    numbers = np.fromiter(map(vocabulary.get, joined, itertools.repeat(0)), np.int64, lengths.sum())
    return np.append(numbers, 0), np.append(np.repeat(np.arange(len(cut)), lengths), len(cut))


def matches(index: Index, words: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields what words have in common with the texts, for 1, 2, ... words.

    Args:
      index: of the texts.
      words: from `to_numbers`.

    Yields:
      Where in `words` a k-gram of the texts begins, ascending, and its number; int64 both.
    """
    at = np.flatnonzero(words)
    numbers = words[at]
    yield at, numbers
    for k, grams in enumerate(index.grams[1:], 1):
        assert grams.numbers
        # The last of the words is 0, which ends every match: nothing is looked up behind it.
        found = grams.numbers.find(numbers * index.factor + words[at + k])
        hit = found > 0
        at, numbers = at[hit], found[hit].astype(np.int64)
        yield at, numbers
