"""Packing loses nothing, doubles nothing, exceeds no window, and leaves little room."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyjax.data.packing import best_fit


def padding_share(lengths, capacity: int) -> float:
    return 1 - sum(lengths) / (len(best_fit(lengths, capacity)) * capacity)


@settings(max_examples=300, deadline=None)
@given(data=st.data(), capacity=st.integers(1, 70))
def test_every_item_once_and_no_window_too_full(data, capacity):
    lengths = data.draw(st.lists(st.integers(1, capacity), max_size=80))
    windows = best_fit(lengths, capacity)
    assert sorted(item for window in windows for item in window) == list(range(len(lengths)))
    assert all(sum(lengths[item] for item in window) <= capacity for window in windows)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=60))
def test_no_two_windows_could_be_one(lengths):
    sums = sorted(sum(lengths[item] for item in window) for window in best_fit(lengths, 50))
    assert len(sums) == 1 or sums[0] + sums[1] > 50


def test_exact_fits_are_found():
    assert padding_share([300, 100, 212, 200, 112, 100], 512) == 0


def test_padding_of_lengths_like_stories():
    lengths = np.random.default_rng(0).lognormal(5.2, 0.35, 10_000).astype(int).clip(30, 512)
    assert padding_share(lengths.tolist(), 512) < 0.02
    assert padding_share(lengths.tolist(), 2048) < 0.01


def test_same_lengths_same_windows():
    lengths = np.random.default_rng(1).integers(1, 500, 500).tolist()
    assert best_fit(lengths, 512) == best_fit(list(lengths), 512)


def test_length_out_of_range():
    with pytest.raises(ValueError, match="item 1 takes 9 slots; a window has 8"):
        best_fit([1, 9], 8)


@pytest.mark.slow
def test_time_grows_with_the_number_of_items():
    lengths = np.random.default_rng(0).integers(50, 500, 100_000).tolist()
    start = time.process_time()
    best_fit(lengths, 512)
    assert time.process_time() - start < 5  # 0.3 s where it was written
