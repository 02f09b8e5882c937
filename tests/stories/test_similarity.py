"""Stories nearly the same as an earlier one are found, with their exact similarity."""

import random
import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import ROOT, make_stories
from tinyjax.errors import UserError
from tinyjax.stories.similarity import THRESHOLD, near_duplicates


def variants(story: str, count: int, seed: int) -> list[str]:
    """The story with one to eight words replaced, in `count` ways."""
    rng = random.Random(seed)
    made = []
    for _ in range(count):
        words = story.split()
        for _ in range(rng.randint(1, 8)):
            words[rng.randrange(len(words))] = rng.choice(["blue", "dog", "seven", "sang"])
        made.append(" ".join(words))
    return made


def runs(text: str) -> set[tuple[str, ...]]:
    """Runs of five words of a text without punctuation that matters."""
    words = text.lower().replace(".", " ").replace(",", " ").split()
    return {tuple(words[i : i + 5]) for i in range(len(words) - 4)}


def similarity(a: str, b: str) -> float:
    """The definition."""
    return len(runs(a) & runs(b)) / len(runs(a) | runs(b))


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """40 different stories, and four variants of each, in a random order."""
    originals = make_stories(40, seed=3)
    texts = [text for i, story in enumerate(originals) for text in [story, *variants(story, 4, i)]]
    random.Random(0).shuffle(texts)
    return texts


def test_pairs_are_those_of_the_definition(texts):
    pairs = near_duplicates(texts)
    second = {j for _, j, _ in pairs}
    assert len(second) == len(pairs), "a text is the second of two pairs"
    missed = 0
    for j, text in enumerate(texts):
        before = [similarity(texts[i], text) for i in range(j) if i not in second]
        is_similar = max(before, default=0) >= THRESHOLD
        assert is_similar or j not in second
        missed += is_similar and j not in second
    assert missed <= 2
    assert len(pairs) > 30
    for i, j, found in pairs:
        assert i < j
        assert i not in second
        assert found == similarity(texts[i], texts[j]) >= THRESHOLD


def test_nothing_is_left_to_find_without_the_second_ones(texts):
    second = {j for _, j, _ in near_duplicates(texts)}
    assert near_duplicates([text for j, text in enumerate(texts) if j not in second]) == []


def test_case_punctuation_and_layout_do_not_matter():
    one = "Once upon a time, Tom ran to the park. He was happy."
    two = "once upon a time tom\nran to the PARK!\n\nHe was... happy"
    assert near_duplicates([one, "A cat sat down.", two]) == [(0, 2, 1.0)]


def test_texts_of_few_words_and_none():
    texts = ["", "Tom ran.", "!?", "Tom ran!", "", "Tom sat."]
    assert near_duplicates(texts) == [(1, 3, 1.0)]
    assert near_duplicates([]) == []


def test_a_thousand_copies_make_a_thousand_pairs_not_a_million():
    pairs = near_duplicates(make_stories(1, seed=1) * 1000)
    assert [(i, j) for i, j, _ in pairs] == [(0, j) for j in range(1, 1000)]


def test_progress_is_told_for_each_text(texts):
    told: list[int] = []
    near_duplicates(texts, progress=told.append)
    assert told == list(range(1, len(texts) + 1))


SCRIPT = """
from tests.conftest import make_stories
from tests.stories.test_similarity import variants
from tinyjax.stories.similarity import near_duplicates
print(near_duplicates([text for s in make_stories(40) for text in [s, *variants(s, 10, 0)]]))
"""


@pytest.mark.slow
def test_another_process_finds_the_same_and_misses_the_same():
    found = set()
    for seed in ("1", "2"):
        env = {"PYTHONHASHSEED": seed, "PATH": ""}
        command = [sys.executable, "-c", SCRIPT]
        found.add(subprocess.run(command, cwd=ROOT, env=env, capture_output=True, check=True).stdout)
    assert len(found) == 1
    assert len(found.pop()) > 100


def test_without_datasketch_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasketch", None)
    with pytest.raises(UserError, match=r"pip install 'tinyjax\[audit\]'"):
        near_duplicates(["Tom ran."])


def test_real_stories_are_nearly_all_different(train_sample):
    stories = train_sample.read_text(encoding="utf-8").split("<|endoftext|>")[:2000]
    copies = [variants(story, 1, i)[0] for i, story in enumerate(stories[:100])]
    pairs = near_duplicates(stories + copies)
    assert sum(j < len(stories) for _, j, _ in pairs) <= 2
    found = {j - len(stories): i for i, j, _ in pairs if j >= len(stories)}
    expected = [k for k in range(100) if similarity(stories[k], copies[k]) >= 0.75]
    assert len(expected) > 40
    assert np.mean([found.get(k) == k for k in expected]) > 0.97
