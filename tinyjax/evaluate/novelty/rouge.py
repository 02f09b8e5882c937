"""ROUGE-k between texts as the paper defines it (section 4.4.1): on sets of k-grams of words.

A text of fewer than k words has no k-gram, and so no score: None, which is not 0.
"""

from collections.abc import Sequence

Grams = frozenset[tuple[str, ...]]


def grams(words: Sequence[str], k: int) -> Grams:
    """Returns G_k, the different k-grams of a text."""
    return frozenset(zip(*(words[i:] for i in range(k)), strict=False))


def precision(a: Grams, b: Grams) -> float | None:
    """Returns R_k,p(a, b), the share of the k-grams of `a` that are in `b` too."""
    return len(a & b) / len(a) if a and b else None


def fmeasure(a: Grams, b: Grams) -> float | None:
    """Returns R_k(a, b), the harmonic mean of both precisions."""
    # 2 pq / (p + q), with p = c / |a| and q = c / |b|; it is 0 where both are.
    return 2 * len(a & b) / (len(a) + len(b)) if a and b else None


def self_similarity(texts: Sequence[Sequence[str]], k: int = 2) -> list[float]:
    """Returns the highest f-measure of each text with any other (Figure 15); of those that have one."""
    of_texts = [found for words in texts if (found := grams(words, k))]
    return [
        max(fmeasure(a, b) or 0.0 for j, b in enumerate(of_texts) if j != i) if len(of_texts) > 1 else 0.0
        for i, a in enumerate(of_texts)
    ]


def distinct(texts: Sequence[Sequence[str]], n: int) -> float | None:
    """Returns distinct-n, the different n-grams over all n-grams of the texts (Li et al. 2016)."""
    whole = sum(max(len(words) - n + 1, 0) for words in texts)
    return len(frozenset().union(*(grams(words, n) for words in texts))) / whole if whole else None
