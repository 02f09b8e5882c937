"""Difficulty: grades of known sentences, true syllables, bands of equal size, and all that fast."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyjax.data.difficulty import (
    MEASURES,
    band_edges,
    band_of,
    count_syllables,
    named_measure,
    reading_level,
)
from tinyjax.errors import UserError

# Words of stories by their number of syllables, as commonly spoken: ev-ry.
SYLLABLES = {
    1: "the she said friend friends smiled laughed helped scared fire clothes shoes eyes played loved "
    "house please whole smile tree blue queen voice through laughs pushed stopped leaves bike I'm don't "
    "that's you're year yes goes jumped squeaked cried tried yard likes knew prince twins bees",
    2: "little people table purple maybe wanted started something sometimes someone houses wishes boxes "
    "very lily's didn't wasn't mommy playing trying going being lion quiet quickly ocean special giant "
    "giggled careful lonely beyond crayons player useful every princess castle apples middle surprised "
    "backyard police machine cookies stories goodbye create treasure unique naughty peaceful puppy "
    "garden monster happen",
    3: "beautiful animal together decided excited everyone idea happily family piano suddenly butterfly "
    "another whenever tomorrow elephant delicious banana video happier area everything adventure "
    "wonderful radio curious creative finally completely notebook carefully violin anyone remember "
    "dangerous hospital",
    4: "caterpillar independent watermelon unusual mysterious intelligent unhappily anybody",
}


def test_syllables_of_story_words():
    words = [(word, count) for count, line in SYLLABLES.items() for word in line.split()]
    wrong = [word for word, count in words if count_syllables(word) != count]
    assert len(words) >= 140
    assert len(wrong) <= 0.05 * len(words), wrong
    assert [count_syllables(word) for word in ("Little,", '"HAPPY!"', "don’t", "Mia’s", "hmm")] == [
        2,
        2,
        1,
        2,
        1,
    ]


@pytest.mark.parametrize(
    ("text", "words", "sentences", "syllables"),
    [
        ("The cat sat on the mat.", 6, 1, 6),
        ('"Stop!" said Mr. Bear. He ran 12 very, very long miles…', 10, 3, 12),  # Mr. counts as one
        ("One day a little girl named Lily found a needle in her room", 13, 1, 16),
        ("Tom ran.\n\nTom sat! Did Tom sleep?", 7, 3, 7),
    ],
)
def test_the_grade_is_that_of_the_formula(text, words, sentences, syllables):
    grade = 0.39 * words / sentences + 11.8 * syllables / words - 15.59
    assert reading_level(text) == pytest.approx(grade, abs=1e-9)


def test_harder_texts_have_a_higher_grade():
    easy = "Tom has a cat. The cat is red. Tom and the cat play."
    hard = (
        "Unexpectedly, the magnificent caterpillar investigated several particularly delicious strawberries."
    )
    assert reading_level(easy) < 1 < 10 < reading_level(hard)
    assert reading_level("") == reading_level("1 + 1 = 2 …") == 0


def test_measures_by_name():
    assert MEASURES["length"](["Zoë", ""]).tolist() == [4, 0]
    levels = named_measure("reading_level")(["Tom ran.", "Lily was happy."])
    assert levels.tolist() == [reading_level("Tom ran."), reading_level("Lily was happy.")]
    assert levels.dtype == np.float64
    with pytest.raises(
        UserError, match=r"reading_lvel is no measure \(did you mean 'reading_level'\?\); choose"
    ):
        named_measure("reading_lvel")


values = st.lists(st.floats(-1e9, 1e9) | st.integers(0, 3).map(float), min_size=1, max_size=60).map(np.array)


@given(values, st.integers(1, 6))
def test_bands_follow_difficulty_and_ties_stay_together(values, bands):
    edges = band_edges(values, np.ones(len(values)), bands)
    of = band_of(values, edges)
    assert edges.shape == (bands - 1,)
    assert of.dtype == np.int32
    assert of.min() >= 0
    assert of.max() < bands
    order = np.argsort(values)
    assert (np.diff(of[order]) >= 0).all()
    for value in values:
        assert len(set(of[values == value])) == 1


@given(st.permutations(range(24)), st.sampled_from([1, 2, 3, 4, 6]))
def test_bands_are_of_equal_size_whatever_the_order(values, bands):
    values = np.array(values, float)
    edges = band_edges(values, np.full(24, 7), bands)
    of = band_of(values, edges)
    assert np.bincount(of).tolist() == [24 // bands] * bands
    assert (of == values * bands // 24).all()


def test_bands_hold_as_much_text_not_as_many_stories():
    sizes = np.arange(1.0, 1001)  # the hard ones are long
    of = band_of(sizes, band_edges(sizes, sizes, 4))
    assert np.bincount(of, sizes) == pytest.approx([sizes.sum() / 4] * 4, rel=0.01)


def test_one_band_and_equal_values():
    values, sizes = np.arange(5.0), np.ones(5)
    assert band_of(values, band_edges(values, sizes, 1)).tolist() == [0] * 5
    assert band_of(sizes, band_edges(sizes, sizes, 3)).tolist() == [0] * 5


def test_the_real_sample_is_measured_fast_and_looks_right(train_sample):
    stories = train_sample.read_text().split("<|endoftext|>")
    measure = MEASURES["reading_level"]
    measure(stories)
    start = time.process_time()
    levels = measure(stories)
    speed = train_sample.stat().st_size / (time.process_time() - start)
    assert 2 < np.median(levels) < 3  # for small children
    assert (
        np.bincount(band_of(levels, band_edges(levels, np.ones(len(levels)), 4))) > 0.24 * len(stories)
    ).all()
    assert speed > 8e6, f"{speed / 1e6:.0f} MB/s"  # 25 MB/s on a quiet machine
