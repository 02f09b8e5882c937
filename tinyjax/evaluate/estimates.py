"""What was measured, and how sure it is: means and shares with 95 % intervals."""

import dataclasses
import math
from collections.abc import Hashable, Sequence

import numpy as np

_Z = 1.959964  # 97.5 % of a normal distribution lie below it
_RESAMPLES = 2000


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float
    count: int  # observations

    def __str__(self) -> str:
        """As reports print it."""
        return f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})"


def mean(values: Sequence[float] | np.ndarray, groups: Sequence[Hashable] | None = None) -> Estimate:
    """Returns the mean with a bootstrapped interval; always the same for the same values.

    Args:
      values: at least one.
      groups: what values share, such as the opening of a story; whole groups are drawn, since values of one
        are alike. Default: every value is its own.
    """
    values = np.asarray(values, float)
    names = range(len(values)) if groups is None else groups
    index = {name: i for i, name in enumerate(dict.fromkeys(names))}
    member = np.array([index[name] for name in names])
    sums, counts = np.bincount(member, values), np.bincount(member)
    draws = np.random.default_rng(0).integers(len(counts), size=(_RESAMPLES, len(counts)))
    means = sums[draws].sum(axis=1) / counts[draws].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Estimate(float(values.mean()), float(low), float(high), len(values))


def share(hits: int, count: int) -> Estimate:
    """Returns a share of independent trials with Wilson's interval; `count` is at least 1."""
    rate = hits / count
    centre = (rate + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half = _Z / (1 + _Z**2 / count) * math.sqrt(rate * (1 - rate) / count + _Z**2 / (4 * count**2))
    low, high = (centre - half if hits else 0.0), (centre + half if hits < count else 1.0)
    return Estimate(rate, low, high, count)
