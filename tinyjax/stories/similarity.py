"""Near duplicates: stories that share most of their runs of five words, found by MinHash and LSH.

Broder (1997) for MinHash; Leskovec, Rajaraman & Ullman, Mining of Massive Datasets, chapter 3, for LSH.
"""

import functools
import re
import zlib
from collections.abc import Callable, Sequence

import numpy as np

from tinyjax.errors import UserError

THRESHOLD = 0.7  # Jaccard similarity from which stories count as near duplicates
_RUN = 5  # words
# 20 bands of 5 hashes: a pair of similarity 0.7 meets in one with probability 0.975, of 0.8 with 0.9996.
_BANDS, _ROWS = 20, 5
_ESTIMATE = 0.5  # below it, the share of equal hashes is too far from THRESHOLD (4 standard errors) to verify

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_FACTORS = np.array(
    [0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1], np.uint64
)  # any odd ones do


def near_duplicates(
    texts: Sequence[str], *, progress: Callable[[int], None] = lambda done: None
) -> list[tuple[int, int, float]]:
    """Finds stories that are nearly the same as an earlier one.

    Similarity is the Jaccard index of the sets of runs of five words, without regard to case and
    punctuation. Texts are compared with those before them that are not near duplicates themselves; so each is
    the second of at most one pair, and without the second ones nothing is left to find.

    Args:
      texts: the stories.
      progress: is told how many of them are done.

    Returns:
      (i, j, similarity) with i < j and similarity of at least 0.7, in order of j; i is the most similar. The
      similarity is exact; 1 pair in 40 at 0.7 is missed, and 1 in 2,500 at 0.8. The same texts give the same
      pairs.
    """
    signer = _Signer()
    signatures = np.zeros((len(texts), _BANDS * _ROWS), np.uint32)
    for j, text in enumerate(texts):
        signatures[j] = signer.sign(text)
        progress(j + 1)
    tables = signer.tables()
    found = []
    for j in np.flatnonzero(_meets_another(signatures)).tolist():
        minhash = signer.minhash(signatures[j])
        candidates = np.array(sorted(tables.query(minhash)), np.int64)
        likely = (signatures[candidates] == signatures[j]).mean(1) >= _ESTIMATE
        similarity, i = max(
            ((_jaccard(texts[i], texts[j]), -i) for i in candidates[likely]), default=(0.0, 0)
        )
        if similarity >= THRESHOLD:
            found.append((int(-i), j, similarity))
        else:
            tables.insert(j, minhash, check_duplication=False)
    return found


class _Signer:
    """Makes MinHash signatures, uint32[100], of texts."""

    def __init__(self):
        try:
            from datasketch import MinHash
        except ImportError:
            raise UserError("near duplicates need datasketch; run pip install 'tinyjax[audit]'") from None
        self.empty = MinHash(num_perm=_BANDS * _ROWS, hashfunc=int)

    def sign(self, text: str) -> np.ndarray:
        """Returns the least hash of the runs of a text under each permutation."""
        minhash = self.empty.copy()
        minhash.update_batch(_run_hashes(_words(text)).tolist())
        return minhash.hashvalues

    def minhash(self, signature: np.ndarray):
        """Returns the object of a signature."""
        minhash = self.empty.copy()
        minhash.hashvalues = signature
        return minhash

    def tables(self):
        """Returns empty tables that find signatures with an equal band."""
        from datasketch import MinHashLSH

        return MinHashLSH(num_perm=_BANDS * _ROWS, params=(_BANDS, _ROWS))


def _meets_another(signatures: np.ndarray) -> np.ndarray:
    """Tells which signatures have a band that is another's too, bool[texts].

    Few do, and only those go into the tables, which take 11 kB a text.
    """
    meets = np.zeros(len(signatures), bool)
    for band in np.split(signatures, _BANDS, axis=1):
        _, place, counts = np.unique(
            band.astype(np.uint64) @ _FACTORS, return_inverse=True, return_counts=True
        )
        meets |= counts[place] > 1
    return meets


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _runs(text: str) -> set[tuple[str, ...]]:
    """Returns the runs of five words; of a shorter text, all its words."""
    words = _words(text)
    return {tuple(words[i : i + _RUN]) for i in range(max(len(words) - _RUN + 1, 1))} if words else set()


def _jaccard(a: str, b: str) -> float:
    """Returns the exact similarity of two texts, 0 to 1; of two without words, 0."""
    runs_a, runs_b = _runs(a), _runs(b)
    return len(runs_a & runs_b) / (len(runs_a | runs_b) or 1)


def _run_hashes(words: Sequence[str]) -> np.ndarray:
    """Returns 32-bit hashes of the runs of five words, uint64[runs]."""
    hashes = np.array([_word_hash(word) for word in words] + [0] * (_RUN - len(words)), np.uint64)
    runs = np.lib.stride_tricks.sliding_window_view(hashes, _RUN)
    return (runs * _FACTORS).sum(1, dtype=np.uint64) >> np.uint64(32)


@functools.lru_cache(maxsize=1 << 17)
def _word_hash(word: str) -> int:
    return zlib.crc32(word.encode()) * 0x9E3779B97F4A7C15 & (1 << 64) - 1
