"""ROUGE-k and distinct-n by hand, and against the definitions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyjax.evaluate.novelty.rouge import distinct, fmeasure, grams, precision, self_similarity

WORDS = st.lists(st.sampled_from("abc"), max_size=8)


def test_rouge_by_hand():
    a, b = map(str.split, ("the cat sat on the mat", "the cat ran on the cat on a mat"))
    one = (grams(a, 1), grams(b, 1))  # the cat sat on mat; the cat ran on a mat: 4 in common
    assert precision(*one) == pytest.approx(4 / 5)
    assert fmeasure(*one) == pytest.approx(2 * (4 / 5) * (4 / 6) / (4 / 5 + 4 / 6))
    # the-cat cat-sat sat-on on-the the-mat; the-cat cat-ran ran-on on-the cat-on on-a a-mat: 2 in common
    two = (grams(a, 2), grams(b, 2))
    assert precision(*two) == pytest.approx(2 / 5)
    assert precision(two[1], two[0]) == pytest.approx(2 / 7)
    assert fmeasure(*two) == pytest.approx(2 * (2 / 5) * (2 / 7) / (2 / 5 + 2 / 7))
    assert precision(grams(a, 3), grams(b, 3)) == 0 == fmeasure(grams(a, 3), grams(b, 3))


@given(WORDS, WORDS, st.integers(1, 5))
def test_rouge_is_the_definition(a: list[str], b: list[str], k: int):
    sets = [{tuple(words[i : i + k]) for i in range(len(words) - k + 1)} for words in (a, b)]
    p, f = (score(grams(a, k), grams(b, k)) for score in (precision, fmeasure))
    if not all(sets):
        assert p is None
        assert f is None
        return
    common = len(sets[0] & sets[1])
    there, back = common / len(sets[0]), common / len(sets[1])
    assert p == there
    assert f == pytest.approx(2 * there * back / (there + back) if common else 0)


def test_self_similarity_is_that_with_the_most_similar_other():
    texts = [text.split() for text in ("a b c", "a b d", "c a b d", "x y", "z", "")]
    # ab bc; ab bd; ca ab bd; xy; the last two have no 2-gram
    assert self_similarity(texts) == pytest.approx([2 / 4, 4 / 5, 4 / 5, 0])
    assert self_similarity([["a", "b"]]) == [0]
    assert self_similarity([["a", "b"], ["a", "b"]]) == [1, 1]


def test_distinct_counts_over_all_texts():
    texts = [["a", "b", "a"], ["a", "b"], ["c"]]
    assert [distinct(texts, n) for n in (1, 2, 3)] == pytest.approx([3 / 6, 2 / 3, 1])
    assert distinct(texts, 4) is None
