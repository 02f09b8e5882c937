"""The curriculum: a permutation of the windows, none of them before its band is open."""

import fractions

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyjax.data.curriculum import FirstEpoch, Ramp, count_bands, first_epoch, longest_ramp


@st.composite
def cases(draw) -> tuple[np.ndarray, int, int]:
    """Bands of windows in any order, draws in a ramp that they suffice for, a seed."""
    sizes = draw(st.lists(st.integers(1, 30), min_size=2, max_size=6))
    bands_W = np.array(draw(st.permutations(np.repeat(np.arange(len(sizes)), sizes).tolist())))
    return bands_W, draw(st.integers(0, longest_ramp(bands_W))), draw(st.integers(0, 2**32 - 1))


@given(cases())
def test_the_first_epoch_reads_each_window_once(case):
    bands_W, ramp, seed = case
    assert sorted(first_epoch(bands_W, ramp, seed).tolist()) == list(range(len(bands_W)))


@given(cases())
def test_no_window_comes_before_its_band_is_open(case):
    bands_W, ramp, seed = case
    order_W = first_epoch(bands_W, ramp, seed)
    num_bands = count_bands(bands_W)
    for draw in range(ramp):
        opened = sum(draw >= fractions.Fraction(ramp * band, num_bands) for band in range(num_bands))
        assert bands_W[order_W[draw]] < opened
        assert Ramp(ramp, num_bands).open_bands(draw) == opened


@given(cases(), st.integers(1, 3))
def test_easy_windows_are_missing_after_the_ramp_by_no_more_than_its_draws(case, epochs: int):
    bands_W, ramp, seed = case
    draws = np.concatenate([first_epoch(bands_W, ramp, seed), np.tile(np.arange(len(bands_W)), epochs - 1)])
    for band in np.unique(bands_W):
        fair = fractions.Fraction(int(np.sum(bands_W == band)), len(bands_W)) * (len(draws) - ramp)
        assert fair - int(np.sum(bands_W[draws[ramp:]] == band)) <= ramp


@given(cases())
def test_the_longest_ramp_is_the_longest_whose_parts_suffice(case):
    bands_W, _, _ = case
    num_bands = count_bands(bands_W)
    windows = [np.sum(bands_W <= band) for band in range(num_bands)]

    def suffice(draws: int) -> bool:
        return all(Ramp(draws, num_bands).end_of_part(part) <= windows[part] for part in range(num_bands))

    assert suffice(longest_ramp(bands_W))
    assert not suffice(longest_ramp(bands_W) + 1)


def test_with_equal_bands_a_ramp_may_be_a_whole_epoch():
    bands_W = np.repeat(np.arange(4), 25)
    assert longest_ramp(bands_W) == 100
    assert [set(bands_W[part]) for part in np.split(first_epoch(bands_W, 100, 0), 4)] == [{0}, {1}, {2}, {3}]


def test_a_part_is_drawn_from_all_that_is_open():
    bands_W = np.repeat(np.arange(4), 1000)
    order_W = first_epoch(bands_W, 400, 0)
    counts = np.bincount(bands_W[order_W[300:400]], minlength=4)
    assert all(10 < count < 45 for count in counts)  # 25 of each are expected, 4.3 is one deviation


def test_the_seed_decides_the_order_and_the_same_seed_makes_the_same():
    bands_W = np.repeat(np.arange(4), 25)
    orders = [tuple(first_epoch(bands_W, 40, seed).tolist()) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


def test_the_order_is_the_same_on_every_machine_and_version():
    assert first_epoch(np.repeat(np.arange(2), 4), 4, 7).tolist() == [3, 0, 4, 2, 7, 6, 5, 1]


def test_bands_that_hold_no_window_count_for_nothing():
    assert count_bands(np.array([0, 5, 5, 9])) == 3
    assert first_epoch(np.array([9, 5, 0]), 3, 0).tolist() == [2, 1, 0]


def test_all_bands_are_open_after_the_ramp_and_without_one():
    assert Ramp(10, 4).open_bands(10) == 4
    assert Ramp(0, 4).open_bands(0) == 4


@pytest.mark.parametrize("draw", [3, 4, 1_000_000])
def test_later_epochs_are_drawn_from_elsewhere(draw: int):
    chosen = FirstEpoch(np.array([2, 0, 1]))
    assert [chosen[i] for i in range(3)] == [(0, 2), (0, 0), (0, 1)]
    assert chosen[draw] == (1, draw)
