"""The best model for each amount of compute, and the power law through these (the paper's section 6)."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from tinyjax.evaluate.estimates import Estimate
from tinyjax.sweep.results import Result

_NEAR = 0.02  # so near are two amounts of FLOPs the same; whole steps don't come nearer
_SPACING = 0.25  # decades between budgets that are read from curves


@dataclasses.dataclass(frozen=True)
class Best:
    """The lowest loss that some model reached with a budget."""

    flops: float
    bits_per_byte: float
    name: str
    parameters: int  # in all
    edge: bool  # no smaller, or no larger, model was tried with this budget: the best may be beyond


@dataclasses.dataclass(frozen=True)
class PowerLaw:
    """y = factor * x**exponent."""

    factor: float
    exponent: Estimate

    def __call__(self, x: float) -> float:
        """Returns y."""
        return self.factor * x**self.exponent.value


def loss_at(result: Result, flops: float) -> float | None:
    """Returns the bits/byte a model reaches with a budget, None where it wasn't trained so short or so long.

    Read from the whole curve where the learning rate is constant, straight between evaluations in logarithms;
    else the end alone counts, since a run of that length would have ended with a lower learning rate.
    """
    points = result.points if result.steady else result.points[-1:] if result.finished else ()
    if not points or not points[0].flops * (1 - _NEAR) <= flops <= points[-1].flops * (1 + _NEAR):
        return None
    x, y = np.log([[point.flops, point.bits_per_byte] for point in points]).T
    return float(np.exp(np.interp(math.log(flops), x, y)))


def budgets(results: Sequence[Result]) -> list[float]:
    """Returns the amounts of FLOPs at which at least two models can be compared."""
    ends = sorted(result.last.flops for result in results)
    if len(ends) < 2:
        return []
    if not all(result.steady for result in results):
        distinct = [end for i, end in enumerate(ends) if not i or end > ends[i - 1] * (1 + _NEAR)]
        return [end for end in distinct if len(_reached(results, end)) > 1]
    low, high = sorted(result.points[0].flops for result in results)[1], ends[-2]
    if low > high * (1 + _NEAR):
        return []
    count = 1 + math.floor(math.log10(max(high / low, 1)) / _SPACING)
    return [float(flops) for flops in np.geomspace(high, low, count)[::-1]]


def frontier(results: Sequence[Result]) -> list[Best]:
    """Returns the best model for each budget, smaller budgets first."""
    return [_best(_reached(results, flops), flops) for flops in budgets(results)]


def _reached(results: Sequence[Result], flops: float) -> list[tuple[float, Result]]:
    found = [(loss_at(result, flops), result) for result in results]
    return [(loss, result) for loss, result in found if loss is not None]


def _best(reached: Sequence[tuple[float, Result]], flops: float) -> Best:
    loss, best = min(reached, key=lambda pair: pair[0])
    sizes = [result.parameters["total"] for _, result in reached]
    size = best.parameters["total"]
    return Best(flops, loss, best.name, size, size in (min(sizes), max(sizes)))


def fit_power_law(x: Sequence[float], y: Sequence[float]) -> PowerLaw | None:
    """Fits by least squares in logarithms, with Student's 95 % interval of the exponent.

    Args:
      x: positive values.
      y: as many positive values; their relative errors are taken as independent and alike.

    Returns:
      None for fewer than three points, which say nothing of their own errors, or all x or all y alike.
    """
    if len(x) < 3 or max(x) == min(x) or max(y) == min(y):
        return None
    from scipy import special, stats  # slow to import, and needed for this alone

    line = stats.linregress(np.log(x), np.log(y))
    half = float(special.stdtrit(len(x) - 2, 0.975) * line.stderr)
    slope = float(line.slope)
    return PowerLaw(math.exp(line.intercept), Estimate(slope, slope - half, slope + half, len(x)))
