"""What a few texts have in common with all stories of a training set, exactly, in one pass over them.

Memory is bounded by the texts, and by the stories of one shard for each worker.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from etils import epath

from tinyjax.evaluate.novelty.index import LONGEST, Grams, Index, make_index, matches, to_numbers
from tinyjax.evaluate.novelty.words import cut_words
from tinyjax.stories.examples import read_texts
from tinyjax.workers import Mapper

COMPARED = 5  # k-grams of up to so many words are compared story by story, for the nearest one
NEAREST_BY = 2  # the nearest story by k-grams of so many words is kept with its text, as in Figure 17
_BATCH = 512  # stories
_PAIRS = 1 << 20  # places in stories and in texts that are compared at a time
# A k-gram of more than sqrt(this x all) texts is counted by a matrix product, whose cost goes with all texts;
# the others by adding up, whose cost goes with the texts that have it. With 0.6 it takes as long, with
# 10 a third longer, all of it by adding up 4.6 times as long (640 real texts, 8,574 real stories).
_FREQUENT = 2.5


@dataclasses.dataclass(frozen=True)
class Best:
    """The highest value for each text, and the first story that has it."""

    values: np.ndarray  # int64[..., texts]; 0: no story has any
    stories: np.ndarray  # int64[..., texts]; indices, or -1

    def then(self, other: "Best", offset: int) -> "Best":
        """What is best in both, where the stories of `other` come after `offset` others."""
        better = other.values > self.values
        return Best(
            np.where(better, other.values, self.values),
            np.where(better, other.stories + offset, self.stories),
        )


@dataclasses.dataclass(frozen=True)
class Found:
    """What texts have in common with stories."""

    stories: int  # that were searched
    kgrams: np.ndarray  # int64[LONGEST]; all k-grams of the stories, k = 1, 2, ...
    counts: tuple[np.ndarray, ...]  # for each k, by a k-gram's number in the index: how often it occurs
    nearest: Best  # [COMPARED, texts]; different k-grams in common with a story
    copied: Best  # [texts]; words of the longest span in common with a story, 0 where it is below LONGEST
    texts: dict[int, str]  # of the stories nearest by 2-grams, and of those that spans are copied from

    def __add__(self, other: "Found") -> "Found":
        """What is found in the stories of both, those of `other` after the others."""
        nearest = self.nearest.then(other.nearest, self.stories)
        copied = self.copied.then(other.copied, self.stories)
        texts = self.texts | {self.stories + i: text for i, text in other.texts.items()}
        return Found(
            self.stories + other.stories,
            self.kgrams + other.kgrams,
            tuple(a + b for a, b in zip(self.counts, other.counts, strict=True)),
            nearest,
            copied,
            {i: texts[i] for i in _kept(nearest, copied)},
        )


def _kept(nearest: Best, copied: Best) -> list[int]:
    """Returns the stories whose texts are kept."""
    return sorted({*nearest.stories[NEAREST_BY - 1].tolist(), *copied.stories.tolist()} - {-1})


def search(
    index: Index,
    shards: Sequence[epath.PathLike],
    map_jobs: Mapper = map,
    told: Callable[[int], None] = lambda stories: None,
) -> Found:
    """Searches all stories of a training set for what a few hundred texts have in common with them.

    Args:
      index: of the texts.
      shards: of the stories, from `tinyjax.data.manifests.shards`.
      map_jobs: does a shard each.
      told: is told how many stories have been searched, after each shard.
    """
    found = _nothing(index)
    job = functools.partial(_search_shard, index.texts)
    for of_shard in map_jobs(job, [str(shard) for shard in shards]):
        found += of_shard
        told(found.stories)
    return found


def _search_shard(texts: tuple[str, ...], shard: str) -> Found:
    return search_stories(_index(texts), read_texts(shard))


# A worker makes the index once for all its shards; it is larger than the texts, which come with each.
_index = functools.lru_cache(maxsize=1)(make_index)


def search_stories(index: Index, stories: Iterable[str]) -> Found:
    """Searches stories for what the texts of an index have in common with them."""
    found = _nothing(index)
    for batch in _batches(stories):
        found += _search_batch(index, batch, min(found.copied.values.tolist(), default=0))
    return found


def _batches(stories: Iterable[str]) -> Iterator[list[str]]:
    stories = iter(stories)
    while batch := list(itertools.islice(stories, _BATCH)):
        yield batch


def _nothing(index: Index) -> Found:
    return Found(
        0,
        np.zeros(LONGEST, np.int64),
        tuple(np.zeros(grams.size, np.int64) for grams in index.grams),
        _no_best(COMPARED, index.num_texts),
        _no_best(index.num_texts),
        {},
    )


def _no_best(*shape: int) -> Best:
    return Best(np.zeros(shape, np.int64), np.full(shape, -1))


def _search_batch(index: Index, stories: Sequence[str], copied: int) -> Found:
    """Searches stories; spans copied from them count where they are longer than `copied`."""
    cut = [cut_words(story) for story in stories]
    words, owners = to_numbers(index.vocabulary, cut)
    found = list(matches(index, words))
    shared = [
        _shared(grams, index.num_texts, numbers, owners[at], len(stories))
        for grams, (at, numbers) in zip(index.grams[:COMPARED], found, strict=False)
    ]
    nearest = Best(*map(np.stack, zip(*map(_best_story, shared), strict=True)))
    copies = _copies(index, words, owners, *found[-1], copied)
    lengths = np.array([len(words) for words in cut])
    return Found(
        len(stories),
        np.array([np.maximum(lengths - k, 0).sum() for k in range(LONGEST)]),
        tuple(
            np.bincount(numbers, minlength=grams.size)
            for grams, (_, numbers) in zip(index.grams, found, strict=True)
        ),
        nearest,
        copies,
        {i: stories[i] for i in _kept(nearest, copies)},
    )


def _best_story(shared_QS: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the most that each text shares with a story, and the story."""
    values_Q = shared_QS.max(axis=1, initial=0)
    return values_Q.astype(np.int64), np.where(values_Q > 0, shared_QS.argmax(axis=1), -1)


def _shared(
    grams: Grams, num_texts: int, numbers: np.ndarray, stories: np.ndarray, num_stories: int
) -> np.ndarray:
    """Returns how many different k-grams each text has in common with each story, [texts, stories].

    Args:
      grams: the k-grams of the texts.
      num_texts: how many texts there are.
      numbers: of those k-grams of the stories that the texts have too.
      stories: which story each is of.
      num_stories: how many stories there are.
    """
    columns_QF, column = _frequent(grams, num_texts)
    is_frequent = column[numbers] >= 0
    present_FS = np.zeros((columns_QF.shape[1], num_stories), np.float32)
    present_FS[column[numbers[is_frequent]], stories[is_frequent]] = 1
    rest = ~is_frequent
    pairs = np.sort(numbers[rest] * num_stories + stories[rest])
    pairs = pairs[np.diff(pairs, prepend=-1) > 0]  # numpy's unique takes five times as long
    which, texts = grams.texts.of(pairs // num_stories)
    places = texts * num_stories + (pairs % num_stories)[which]
    shared = np.bincount(places, minlength=num_texts * num_stories).reshape(num_texts, num_stories)
    return shared + columns_QF @ present_FS


def _frequent(grams: Grams, num_texts: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns which texts have the k-grams of many texts, float32[texts, such], and the column of each."""
    many = np.flatnonzero(np.diff(grams.texts.starts) ** 2 > _FREQUENT * num_texts)
    which, texts = grams.texts.of(many)
    columns_QF = np.zeros((num_texts, len(many)), np.float32)
    columns_QF[texts, which] = 1
    column = np.full(grams.size, -1)
    column[many] = np.arange(len(many))
    return columns_QF, column


def _copies(
    index: Index, words: np.ndarray, owners: np.ndarray, at: np.ndarray, numbers: np.ndarray, copied: int
) -> Best:
    """Returns for each text its longest span of more than `copied` words that a story has.

    Args:
      index: of the texts.
      words: of the stories.
      owners: which story each is of.
      at: where k-grams of LONGEST words begin in `words` that the texts have too.
      numbers: of those k-grams.
      copied: words.
    """
    best = _no_best(index.num_texts)
    # A longer span is a run of k-grams that the texts have: how far it may reach at most.
    ends = np.flatnonzero(np.diff(at, append=-1) != 1)
    reach = at[ends[np.searchsorted(ends, np.arange(len(at)))]] - at + LONGEST
    at, numbers = at[reach > copied], numbers[reach > copied]
    places = index.grams[-1].places
    sizes = np.cumsum(places.starts[numbers + 1] - places.starts[numbers])
    parts = max(math.ceil(sizes[-1] / _PAIRS), 1) if len(sizes) else 0
    for part in np.array_split(np.arange(len(at)), np.searchsorted(sizes, np.arange(1, parts) * _PAIRS)):
        which, place = places.of(numbers[part])
        best = best.then(_longest(index, words, owners, at[part][which], place), 0)
    return best


def _longest(index: Index, words: np.ndarray, owners: np.ndarray, at: np.ndarray, place: np.ndarray) -> Best:
    """Returns the longest span of each text, of those that begin at `at` in stories and `place` in texts."""
    before = index.words[place - 1]
    is_start = (words[at - 1] != before) | (before == 0)
    at, place = at[is_start], place[is_start]
    lengths = np.full(len(at), LONGEST)
    going = np.arange(len(at))
    while len(going):
        after = words[at[going] + lengths[going]]
        going = going[(after == index.words[place[going] + lengths[going]]) & (after > 0)]
        lengths[going] += 1
    texts = index.owners[place]
    order = np.lexsort((at, -lengths, texts))
    found, first = np.unique(texts[order], return_index=True)
    best = _no_best(index.num_texts)
    best.values[found], best.stories[found] = lengths[order[first]], owners[at[order[first]]]
    return best
