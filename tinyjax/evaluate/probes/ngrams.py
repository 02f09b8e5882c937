"""n-gram models of stories, asked for the probabilities of given texts only: the baselines of probes.

P(w | h) = (c(hw) + K P(w | h')) / (c(h) + K), where h' is h without its first token: each distribution is
the prior of the next longer one (the hierarchical Dirichlet language model of MacKay & Peto 1995). It sums
to 1, and, unlike Kneser-Ney, needs no counts but those of the n-grams in the texts and of their beginnings.
So only these are counted, exactly, in memory that doesn't grow with the stories.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from etils import epath

from tinyjax.stories import examples
from tinyjax.tokenizer import Tokenizer
from tinyjax.workers import Mapper

ORDER = 5
_PRIOR = (
    50.0  # K: so many observations is the shorter history worth; the best of 1 to 150 on held-out stories
)
_STORIES_AT_ONCE = 1000
_NONE = -1  # no token, and the index of what isn't among the grams


@dataclasses.dataclass(frozen=True)
class Grams:
    """All n-grams of some rows of tokens, as a tree: of each the index of its beginning, and its last token.

    `keys[n - 1]` holds index * vocab_size + token of the n-grams, sorted; of single tokens the token.
    """

    keys: tuple[np.ndarray, ...]
    vocab_size: int

    def find(self, ids: np.ndarray) -> Iterator[np.ndarray]:
        """Yields for n = 1, 2, ... the indices of the n-grams at each position of `ids`, -1 for others."""
        index = _look_up(self.keys[0], ids)
        yield index
        for n, keys in enumerate(self.keys[1:], 1):
            index = _look_up(keys, _extend(index, ids[n:], self.vocab_size))
            yield index

    def count(self, ids: np.ndarray) -> tuple[np.ndarray, ...]:
        """Returns how often each n-gram occurs in `ids`; none spans a -1."""
        return tuple(
            np.bincount(index[index >= 0], minlength=len(keys))
            for keys, index in zip(self.keys, self.find(ids), strict=True)
        )


def _extend(index: np.ndarray, ids: np.ndarray, vocab_size: int) -> np.ndarray:
    """Returns the keys of n-grams, by the indices of their beginnings and their last tokens."""
    index = index[: len(ids)]
    return np.where((index >= 0) & (ids >= 0), index * vocab_size + ids, _NONE)


def _look_up(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    if not len(keys):
        return np.full(len(wanted), _NONE)
    index = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[index] == wanted, index, _NONE)


def collect(rows: Iterable[Sequence[int]], vocab_size: int, order: int = ORDER) -> Grams:
    """Returns the n-grams of rows of tokens up to n = `order`."""
    ids = _joined(rows)
    found: list[np.ndarray] = []
    wanted = ids
    for n in range(1, order + 1):
        found.append(np.unique(wanted[wanted >= 0]))
        wanted = _extend(_look_up(found[-1], wanted), ids[n:], vocab_size)
    return Grams(tuple(found), vocab_size)


def _joined(rows: Iterable[Sequence[int]]) -> np.ndarray:
    """Returns rows one after the other, with -1 behind each, int64."""
    return np.array([token for row in rows for token in (*row, _NONE)], np.int64)


@dataclasses.dataclass(frozen=True)
class NgramModel:
    """Counts of n-grams in stories, and what follows of them."""

    grams: Grams
    counts: tuple[np.ndarray, ...]
    tokens: int  # of all stories, their ends included

    def logprobs(self, row: Sequence[int], order: int = ORDER) -> np.ndarray:
        """Returns the log-probability of each token of a row by up to `order - 1` before it, in nats.

        Args:
          row: of those that the grams were collected from. Its first token has no history, so that for the
            beginning of a story it doesn't count.
          order: at most that of the grams.
        """
        ids = np.asarray(row, np.int64)
        counts = [count[index] for count, index in zip(self.counts, self.grams.find(ids), strict=True)]
        p = (counts[0] + 1) / (self.tokens + self.grams.vocab_size)
        for n in range(1, order):
            whole, history = counts[n], counts[n - 1][:-1]
            p[n:] = (whole + _PRIOR * p[n:]) / (history + _PRIOR)
        return np.log(p)


def train(
    grams: Grams,
    tokenizer: Tokenizer,
    shards: Sequence[epath.Path],
    map_jobs: Mapper = map,
    counted: Callable[[], None] = lambda: None,
) -> NgramModel:
    """Counts n-grams in the stories of a prepared folder.

    Args:
      grams: what is counted.
      tokenizer: what the stories are cut with; it need not be the folder's.
      shards: the files of the stories.
      map_jobs: does the work on each file.
      counted: is called at each file that is done.
    """
    counts = [np.zeros(len(keys), np.int64) for keys in grams.keys]
    tokens = 0
    for of_shard, num_tokens in map_jobs(functools.partial(_count_shard, grams, tokenizer), shards):
        for total, part in zip(counts, of_shard, strict=True):
            total += part
        tokens += num_tokens
        counted()
    return NgramModel(grams, tuple(counts), tokens)


def _count_shard(grams: Grams, tokenizer: Tokenizer, shard: epath.Path) -> tuple[tuple[np.ndarray, ...], int]:
    return count_stories(grams, tokenizer, examples.read_texts(shard))


def count_stories(
    grams: Grams, tokenizer: Tokenizer, texts: Iterable[str]
) -> tuple[tuple[np.ndarray, ...], int]:
    """Returns how often the n-grams occur in stories, and the tokens that stories have, ends included.

    The ends themselves aren't looked at: nothing comes after one, so that the count of a history is that of
    all its continuations even where one id begins and ends stories.
    """
    counts = [np.zeros(len(keys), np.int64) for keys in grams.keys]
    tokens = 0
    texts = iter(texts)
    while some := list(itertools.islice(texts, _STORIES_AT_ONCE)):
        rows = [np.concatenate([[tokenizer.bos_id], tokenizer.encode(text), [_NONE]]) for text in some]
        for total, part in zip(counts, grams.count(np.concatenate(rows)), strict=True):
            total += part
        tokens += sum(len(row) - 1 for row in rows)
    return tuple(counts), tokens
