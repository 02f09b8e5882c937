"""Charts as what a template draws: lines, dots and ticks in the pixels of an SVG."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence

WIDTH, HEIGHT = 520.0, 300.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 510.0, 10.0, 262.0
_TICKS = 6  # about as many on an axis

Pair = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Series:
    """Values that belong together."""

    name: str
    points: Sequence[Pair]
    colour: int = 0
    dots: bool = True  # draw each point
    line: bool = True  # join them
    faint: bool = False  # in the background, and not in the legend


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A series in pixels."""

    series: Series
    pixels: list[Pair]


@dataclasses.dataclass(frozen=True)
class Chart:
    """All that a chart shows."""

    x_label: str
    y_label: str
    x_ticks: list[tuple[float, str]]  # pixel, text
    y_ticks: list[tuple[float, str]]
    drawn: list[Drawn]


def make_chart(
    x_label: str, y_label: str, series: Sequence[Series], *, log_x: bool = True, log_y: bool = False
) -> Chart:
    """Lays out a chart of series of which at least one has a point; values on a log axis are positive."""
    xs, ys = zip(*itertools.chain.from_iterable(one.points for one in series), strict=True)
    x_at, x_ticks = _axis(xs, _LEFT, _RIGHT, log_x)
    y_at, y_ticks = _axis(ys, _BOTTOM, _TOP, log_y)
    drawn = [Drawn(one, [(x_at(x), y_at(y)) for x, y in one.points]) for one in series]
    return Chart(x_label, y_label, x_ticks, y_ticks, drawn)


def _axis(
    values: Sequence[float], begin: float, end: float, log: bool
) -> tuple[Callable[[float], float], list[tuple[float, str]]]:
    """Returns what places a value between two pixels, and the ticks there."""
    scale = math.log if log else float
    low, high = min(values), max(values)
    first, last = scale(low), scale(high)
    margin = 0.04 * (last - first) or 0.5 * (abs(first) or 1.0)
    first, last = first - margin, last + margin

    def at(value: float) -> float:
        return begin + (end - begin) * (scale(value) - first) / (last - first)

    ticks = decades(low, high) if log and high / low > 10 else steps(low, high)
    return at, [(at(value), short(value)) for value in ticks]


def steps(low: float, high: float) -> list[float]:
    """Returns round values at equal distances from `low` to `high`."""
    if low == high:
        return [low]
    rough = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * round_ for round_ in (1, 2, 5, 10) if power * round_ >= rough)
    return [step * number for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def decades(low: float, high: float) -> list[float]:
    """Returns powers of ten from `low` to `high`, with twice and five times them where these are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if high / low < 1000 else (1,)
    values = [factor * 10.0**power for power in powers for factor in factors]
    return [value for value in values if low <= value <= high]


def short(value: float) -> str:
    """Returns a number for an axis: 0.85, 300, 20K, 1.5M, 2e12."""
    for unit, size in (("", 1.0), ("K", 1e3), ("M", 1e6)):
        if value < 1000 * size:
            return f"{value / size:.4g}{unit}"
    return scientific(value)


def scientific(value: float) -> str:
    """Returns a positive number as 6.02e12."""
    digits, exponent = f"{value:.2e}".split("e")
    return f"{float(digits):g}e{int(exponent)}"
