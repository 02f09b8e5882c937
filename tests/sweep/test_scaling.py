"""The best model for each amount of compute, and the power law through these."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from tinyjax.sweep.results import Point, Result
from tinyjax.sweep.scaling import budgets, fit_power_law, frontier, loss_at


def result(
    name: str,
    parameters: int,
    flops: Sequence[float] | np.ndarray,
    losses: Sequence[float] | np.ndarray,
    *,
    steady: bool = True,
) -> Result:
    pairs = zip(map(float, flops), map(float, losses), strict=True)
    points = tuple(Point(step, x, loss, 0.01, 3 * loss) for step, (x, loss) in enumerate(pairs, 1))
    sizes = {"body": parameters // 2, "embedding": parameters - parameters // 2, "total": parameters}
    return Result(name, 64, 1, 1, sizes, steady, len(points), points, (), {})


def test_a_known_exponent_is_found_and_its_interval_covers_it_as_often_as_it_says():
    """95 % of 400 draws of six noisy points, give or take four standard deviations of that share."""
    x = np.geomspace(1e12, 1e15, 6)
    rng, true = np.random.default_rng(0), -0.12
    noisy = 30 * x**true * np.exp(rng.normal(0, 0.02, (400, 6)))
    laws = [law for y in noisy if (law := fit_power_law(list(x), list(y)))]
    exponents = np.array([law.exponent.value for law in laws])
    covered = np.mean([law.exponent.low < true < law.exponent.high for law in laws])
    assert abs(exponents.mean() - true) < 4 * exponents.std() / len(laws) ** 0.5
    assert abs(covered - 0.95) < 4 * (0.95 * 0.05 / 400) ** 0.5


def test_a_law_without_noise_is_exact():
    law = fit_power_law([1e3, 1e4, 1e6], [2 * x**0.7 for x in (1e3, 1e4, 1e6)])
    assert law is not None
    assert law.exponent.value == pytest.approx(0.7)
    assert (law.exponent.low, law.exponent.high) == pytest.approx((0.7, 0.7))
    assert law.factor == pytest.approx(2)
    assert law(1e5) == pytest.approx(2 * 1e5**0.7)
    assert law.exponent.count == 3


@pytest.mark.parametrize("x", [[], [1e3], [1e3, 1e4], [1e3, 1e3, 1e3]])
def test_too_few_points_make_no_law(x: list[float]):
    assert fit_power_law(x, [1.0 / (i + 1) for i in range(len(x))]) is None


def test_values_that_do_not_change_show_no_law():
    assert fit_power_law([1e3, 1e4, 1e5, 1e6], [7.0] * 4) is None


def test_the_loss_at_a_budget_is_read_from_the_curve_and_not_beyond_it():
    one = result("a", 100, [1e10, 1e12], [2.0, 1.0])
    assert loss_at(one, 1e11) == pytest.approx(2**0.5)  # halfway in logarithms
    assert loss_at(one, 1e12 * 1.01) == pytest.approx(1.0)
    assert loss_at(one, 1e9) is None
    assert loss_at(one, 2e12) is None


def test_before_a_decay_of_the_learning_rate_only_the_end_counts():
    one = result("a", 100, [1e10, 1e12], [2.0, 1.0], steady=False)
    assert loss_at(one, 1e11) is None
    assert loss_at(one, 1e12) == pytest.approx(1.0)
    assert loss_at(dataclasses.replace(one, num_steps=9), 1e12) is None  # it isn't finished


def test_the_best_model_grows_with_compute():
    """Power laws of which the larger model's starts higher and falls faster; they cross at 1e12 FLOPs."""
    flops = np.geomspace(1e10, 1e14, 9)
    small, large = (flops / 1e12) ** -0.05, (flops / 1e12) ** -0.1
    found = frontier([result("small", 100, flops, small), result("large", 1000, flops, large)])
    assert [one.name for one in found if one.flops < 0.9e12] == ["small"] * sum(
        b.flops < 0.9e12 for b in found
    )
    assert [one.name for one in found if one.flops > 1.1e12] == ["large"] * sum(
        b.flops > 1.1e12 for b in found
    )
    assert {one.name: one.parameters for one in found} == {"small": 100, "large": 1000}
    assert (found[0].flops, found[-1].flops) == pytest.approx((1e10, 1e14))
    assert found[0].bits_per_byte == pytest.approx(small[0])
    assert all(one.edge for one in found)


def test_a_best_model_between_others_is_at_no_edge():
    flops = [1e10, 1e11]
    three = [result(str(n), n, flops, [loss, loss]) for n, loss in ((1, 2.0), (2, 1.0), (3, 1.5))]
    assert {(one.name, one.edge) for one in frontier(three)} == {("2", False)}


def test_budgets_are_those_at_which_two_models_can_be_compared():
    curves = [result("a", 1, [1e9, 1e12], [2, 1]), result("b", 2, [1e11, 1e14], [2, 1])]
    found = budgets(curves)
    assert (found[0], found[-1]) == pytest.approx((1e11, 1e12))
    ends = [
        result(str(i), i + 1, [1e8, end], [2, 1], steady=False) for i, end in enumerate([1e10, 1.01e10, 1e12])
    ]
    assert budgets(ends) == [1e10]
    assert budgets([]) == budgets(curves[:1]) == []
    assert budgets([result("a", 1, [1e9], [2]), result("b", 2, [1e12], [1])]) == []
