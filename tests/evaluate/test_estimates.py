"""Intervals hold the truth as often as they say."""

import numpy as np
import pytest

from tinyjax.evaluate.estimates import mean, share


def coverage(intervals, truth: float) -> float:
    return float(np.mean([estimate.low <= truth <= estimate.high for estimate in intervals]))


def test_shares_hold_the_truth_in_95_of_100_cases():
    hits = np.random.default_rng(0).binomial(50, 0.3, size=2000)
    assert coverage([share(int(n), 50) for n in hits], 0.3) == pytest.approx(0.95, abs=0.02)


def test_means_hold_the_truth_in_95_of_100_cases():
    samples = np.random.default_rng(0).exponential(size=(300, 100))
    assert coverage([mean(values) for values in samples], 1.0) == pytest.approx(0.95, abs=0.04)


def test_values_that_share_a_group_count_as_one():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 10)
    alike = [np.repeat(rng.normal(size=40), 10) + 0.1 * rng.normal(size=400) for _ in range(200)]
    assert coverage([mean(values, groups.tolist()) for values in alike], 0.0) == pytest.approx(0.95, abs=0.04)
    assert coverage([mean(values) for values in alike], 0.0) < 0.7


def test_extremes_stay_within_0_and_1():
    none, all_of_them = share(0, 10), share(10, 10)
    assert none.value == none.low == 0
    assert all_of_them.value == all_of_them.high == 1
    assert none.high == pytest.approx(0.2775, abs=1e-4)  # Wilson's interval for 0 of 10


def test_the_same_values_give_the_same_interval():
    assert mean([1.0, 2.0, 4.0]) == mean([1.0, 2.0, 4.0])
