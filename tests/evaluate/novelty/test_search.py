"""What is found in the training stories is what their definitions say, whatever batches and workers."""

import contextlib
import dataclasses
import itertools
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import make_stories
from tinyjax.evaluate.novelty import index as indexing
from tinyjax.evaluate.novelty import search as searching
from tinyjax.evaluate.novelty.index import LONGEST, Index, make_index, number
from tinyjax.evaluate.novelty.search import COMPARED, Found, search, search_stories
from tinyjax.evaluate.novelty.words import cut_words
from tinyjax.workers import local_workers

# Texts of few phrases, so that they share long spans, of few words, so that they repeat themselves.
PHRASE = st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, max_size=9).map(" ".join)
CORPORA = st.lists(PHRASE, min_size=1, max_size=4).flatmap(
    lambda phrases: st.tuples(
        *(
            st.lists(
                st.lists(st.sampled_from([*phrases, "x", "A, b!"]), max_size=4).map(" ".join), max_size=8
            )
            for _ in range(2)
        )
    )
)


def runs(words: Sequence[str], k: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + k]) for i in range(len(words) - k + 1)]


def spelled(index: Index, k: int) -> list[tuple[str, ...]]:
    """The k-grams of an index by number, from 1."""
    word = {i: word for word, i in index.vocabulary.items()}
    places = index.grams[k - 1].places
    return [
        tuple(word[int(i)] for i in index.words[place : place + k])
        for place in places.members[places.starts[1:-1]]
    ]


def longest_span(a: Sequence[str], b: Sequence[str]) -> int:
    return max((k for k in range(1, len(a) + 1) if set(runs(a, k)) & set(runs(b, k))), default=0)


def first_best(values: Sequence[int]) -> tuple[int, int]:
    best = max(values, default=0)
    return best, values.index(best) if best else -1


def assert_right(found: Found, texts: Sequence[str], stories: Sequence[str]) -> None:
    """Each figure by its definition, story by story."""
    index = make_index(texts)
    cut, cut_stories = ([cut_words(text) for text in group] for group in (texts, stories))
    assert found.stories == len(stories)
    for k in range(1, LONGEST + 1):
        everywhere = [run for words in cut_stories for run in runs(words, k)]
        assert found.kgrams[k - 1] == len(everywhere)
        names = spelled(index, k)
        assert sorted(names) == sorted({run for words in cut for run in runs(words, k)})
        assert found.counts[k - 1].tolist() == [0, *(everywhere.count(name) for name in names)]
    for text, words in enumerate(cut):
        for k in range(1, COMPARED + 1):
            shared = [len(set(runs(words, k)) & set(runs(story, k))) for story in cut_stories]
            best = found.nearest.values[k - 1, text], found.nearest.stories[k - 1, text]
            assert best == first_best(shared)
        spans = [longest_span(words, story) for story in cut_stories]
        copied = found.copied.values[text], found.copied.stories[text]
        assert copied == first_best([span if span >= LONGEST else 0 for span in spans])
    used = {*found.nearest.stories[1].tolist(), *found.copied.stories.tolist()} - {-1}
    assert found.texts == {i: stories[i] for i in used}


@pytest.mark.parametrize("frequent", [0, 2.5, np.inf])
@settings(max_examples=40, deadline=None)
@given(corpora=CORPORA)
def test_all_that_is_found_is_what_the_definitions_say(frequent: float, corpora: tuple):
    """Also where all is counted by the matrix product, or nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(searching, "_FREQUENT", frequent)
        patch.setattr(searching, "_BATCH", 3)
        patch.setattr(searching, "_PAIRS", 5)
        texts, stories = corpora
        assert_right(search_stories(make_index(texts), stories), texts, stories)


def test_a_copy_of_one_word_more_is_found_in_a_later_batch(monkeypatch):
    """What is shorter than the copies there are is passed over, and only that."""
    monkeypatch.setattr(searching, "_BATCH", 1)
    words = [f"w{i}" for i in range(20)]
    stories = [" ".join(words[i % 3 : i % 3 + length]) for i, length in enumerate([8, 9, 9, 10, 11, 10])]
    found = search_stories(make_index([" ".join(words)]), stories)
    assert (found.copied.values.tolist(), found.copied.stories.tolist()) == ([11], [4])


def test_texts_and_stories_may_be_few_short_and_empty():
    for texts, stories in itertools.product([[], [""], ["", "a", "!"]], [[], [""], ["a", "", "b"]]):
        assert_right(search_stories(make_index(texts), stories), texts, stories)


@given(st.sets(st.integers(0, 2**62), max_size=300), st.lists(st.integers(0, 2**62), max_size=50))
def test_numbers_are_those_of_the_keys_alone(keys: set[int], others: list[int]):
    ordered = sorted(keys)
    table = number(np.array(ordered, np.int64))
    asked = np.array([*ordered, *others], np.int64)
    wanted = [ordered.index(key) + 1 if key in keys else 0 for key in asked.tolist()]
    assert table.find(asked).tolist() == wanted


def test_keys_that_want_the_same_slot_are_told_apart(monkeypatch):
    monkeypatch.setattr(indexing, "_slots", lambda keys, size: np.full(len(keys), size - 2))
    crowded = number(np.arange(0, 300, 3))
    assert crowded.find(np.arange(300)).tolist() == [i // 3 + 1 if i % 3 == 0 else 0 for i in range(300)]


def same(a: Any, b: Any) -> bool:
    return all(
        np.array_equal(x, y)
        for x, y in zip(flat(dataclasses.asdict(a)), flat(dataclasses.asdict(b)), strict=True)
    )


def flat(value: Any) -> list:
    if isinstance(value, dict):
        return [x for v in value.values() for x in flat(v)] + [sorted(value)]
    return [x for v in value for x in flat(v)] if isinstance(value, tuple) else [value]


@pytest.mark.parametrize("workers", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_shards_and_workers_make_no_difference(workers: bool, write_shards):
    stories = make_stories(60)
    texts = [stories[i][-300:] for i in range(0, 60, 6)] + make_stories(5, seed=1)
    index = make_index(texts)
    wanted = search_stories(index, stories)
    told: list[int] = []
    with local_workers() if workers else contextlib.nullcontext(map) as map_jobs:
        found = search(index, write_shards(stories, 5), map_jobs, told.append)
    assert same(found, wanted)
    assert told == [12, 24, 36, 48, 60]


def test_a_planted_copy_is_found_with_its_source_and_exact_length(shared_data: pathlib.Path):
    """Among real stories: 23 words of one, in a text that has nothing else of it."""
    path = shared_data / "tinystories" / "train-sample.txt"
    stories = [text.strip() for text in path.read_text(encoding="utf-8").split("<|endoftext|>")][:3000]
    copied = stories[2345].split()[40:60]
    words = cut_words(" ".join(copied))
    text = " ".join(["Zorp", *copied, "zorp", *stories[17].split()[:9]])
    found = search_stories(make_index(["Nothing of it.", text]), stories)
    assert (found.copied.values[1], found.copied.stories[1]) == (len(words), 2345)
    assert found.nearest.stories[1, 1] == 2345
    assert found.texts[2345] == stories[2345]
