"""Charts as the page draws them: what is where, in the units of an SVG's view box.

Nothing here knows of models: a series has a style, from which its colour and the shape of its marks follow.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

WIDTH, HEIGHT = 360, 226
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 342, 24, 180  # where the axes end
_ROW, _HEAD = 17, 22  # heights within `Rows`
_ROWS_LEFT, _ROWS_RIGHT = 128, 340
_LETTER = 6.2  # width of a letter beside an axis, about
_GROUP = 0.8  # of the room of a name that its bars take
_TICKS = 4  # of an axis, about
_BAR = 0.05  # width of a bin of scores between 0 and 1
COLOURS = 6

# Marks around (0, 0), so that a series is told from the others without its colour.
_MARKS = (
    "M-1 0a1 1 0 1 0 2 0a1 1 0 1 0-2 0z",
    "M-.9-.9h1.8v1.8h-1.8z",
    "M0-1.15L1.1.85H-1.1z",
    "M0-1.25L1.25 0L0 1.25L-1.25 0z",
    "M0 1.15L1.1-.85H-1.1z",
    "M-.4-1.1h.8v.7h.7v.8h-.7v.7h-.8v-.7h-.7v-.8h.7z",
)


@dataclasses.dataclass(frozen=True)
class Axis:
    """From the values along an axis to shares of its length."""

    label: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = False

    def at(self, value: float) -> float:
        """Returns where a value stands, 0 to 1."""
        scale = math.log if self.log else float
        low, high = scale(self.low), scale(self.high)
        return min(max((scale(value) - low) / (high - low), 0.0), 1.0)


@dataclasses.dataclass(frozen=True)
class Point:
    """A value, its interval where it has one, and what it is the value of."""

    x: float
    y: float
    name: str
    text: str  # the value with its interval, for people
    low: float | None = None
    high: float | None = None


@dataclasses.dataclass(frozen=True)
class Series:
    """Points of one kind."""

    name: str
    style: int
    points: tuple[Point, ...]
    dashed: bool = False  # what is measured is no model, but what models are compared with

    @property
    def css(self) -> str:
        """The class that gives its colour."""
        return "reference" if self.dashed else f"c{self.style % COLOURS}"

    @property
    def mark(self) -> str:
        """The outline of its marks around (0, 0)."""
        return _MARKS[(self.style + self.style // COLOURS) % len(_MARKS)]


@dataclasses.dataclass(frozen=True)
class Chart:
    """Series over an axis, as lines, as bars beside each other, or as histograms.

    Of a histogram, each point is a bin from its x to that of the next point. Bars stand around their x.
    """

    title: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    kind: Literal["lines", "bars", "histogram"] = "lines"

    width, height = WIDTH, HEIGHT
    left, right, top, bottom = _LEFT, _RIGHT, _TOP, _BOTTOM

    @property
    def ticks(self) -> Iterator[tuple[str, str, int]]:
        """Yields place, text and line of each tick of x; long names take turns on two lines."""
        letters = sum(len(text) + 1 for _, text in self.x.ticks)
        lines = 2 if letters * _LETTER > _RIGHT - _LEFT else 1
        for number, (value, text) in enumerate(self.x.ticks):
            yield self.across(value), text, number % lines

    def across(self, value: float) -> str:
        """Returns the x of a value."""
        return _number(_LEFT + (_RIGHT - _LEFT) * self.x.at(value))

    def down(self, value: float) -> str:
        """Returns the y of a value."""
        return _number(_BOTTOM - (_BOTTOM - _TOP) * self.y.at(value))

    def path(self, series: Series) -> str:
        """Returns the line through the points of a series, or the outline of its bins."""
        if self.kind == "lines":
            return "M" + "L".join(f"{self.across(p.x)} {self.down(p.y)}" for p in series.points)
        ends = [point.x for point in series.points[1:]] + [self.x.high]
        steps = (f"V{self.down(p.y)}H{self.across(end)}" for p, end in zip(series.points, ends, strict=True))
        return f"M{self.across(self.x.low)} {_BOTTOM}{''.join(steps)}V{_BOTTOM}"

    @property
    def names(self) -> list[str]:
        """What the points are values of, in order, over all series."""
        found = {point.name: point.x for series in self.series for point in series.points}
        return sorted(found, key=lambda name: found[name])

    @property
    def bar(self) -> float:
        """The width of a bar."""
        return _GROUP / len(self.series) / (self.x.high - self.x.low) * (_RIGHT - _LEFT)

    def text(self, series: Series, name: str) -> str:
        """Returns the value of a series at a name, "" where it has none."""
        return next((point.text for point in series.points if point.name == name), "")

    @property
    def columns(self) -> Iterator[tuple[str, str, str]]:
        """Yields x, width and text of each bin of a histogram."""
        edges = [point.x for point in self.series[0].points] + [self.x.high]
        for name, start, end in zip(self.names, edges, edges[1:], strict=False):
            said = "\n".join(f"{series.name}: {self.text(series, name)}" for series in self.series)
            left, right = self.across(start), self.across(end)
            yield left, _number(float(right) - float(left)), f"{name}\n{said}"


@dataclasses.dataclass(frozen=True)
class Row:
    """One interval of a group."""

    series: Series
    point: Point


@dataclasses.dataclass(frozen=True)
class Group:
    """Intervals of one thing, and what chance would reach."""

    name: str
    rows: tuple[Row, ...]
    chance: float | None = None


@dataclasses.dataclass(frozen=True)
class Rows:
    """Intervals under each other, in groups; the x of a point is its value."""

    title: str
    x: Axis
    groups: tuple[Group, ...]

    width = WIDTH
    left, right, row, head = _ROWS_LEFT, _ROWS_RIGHT, _ROW, _HEAD

    @property
    def tops(self) -> list[int]:
        """Where each group begins, and the last one ends."""
        tops = [0]
        for group in self.groups:
            tops.append(tops[-1] + _HEAD + _ROW * len(group.rows))
        return tops

    @property
    def lines(self) -> list[tuple[Series, list[Point | None]]]:
        """What the rows show, a line for each series: its points in all groups, None where it has none."""
        found: dict[tuple, tuple[Series, list[Point | None]]] = {}
        for number, group in enumerate(self.groups):
            for row in group.rows:
                key = (row.series.name, row.series.style, row.series.dashed)
                _, points = found.setdefault(key, (row.series, [None] * len(self.groups)))
                points[number] = row.point
        return list(found.values())

    @property
    def height(self) -> int:
        """Of the whole chart, the axis included."""
        return self.tops[-1] + 40

    def across(self, value: float) -> str:
        """Returns the x of a value."""
        return _number(_ROWS_LEFT + (_ROWS_RIGHT - _ROWS_LEFT) * self.x.at(value))


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def linear(label: str, values: Sequence[float], show: Callable[[float], str] | None = None) -> Axis:
    """Returns an axis with round ends around the values."""
    low, high = min(values), max(values)
    step = _round_up((high - low or abs(high) or 1.0) / _TICKS)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last = max(last, first + 1)
    marks = [round(i * step, 10) for i in range(first, last + 1)]
    return Axis(label, marks[0], marks[-1], tuple((mark, (show or short)(mark)) for mark in marks))


def _round_up(step: float) -> float:
    scale = 10.0 ** math.floor(math.log10(step))
    return next(factor * scale for factor in (1, 2, 2.5, 5, 10) if factor * scale >= step * 0.999)


def shares(label: str) -> Axis:
    """Returns an axis from 0 to 100 %."""
    return Axis(label, 0.0, 1.0, tuple((i / 4, f"{25 * i} %") for i in range(5)))


def up_to(label: str, highest: float) -> Axis:
    """Returns an axis of shares from 0 to at least the highest."""
    return linear(label, [0.0, highest or 1.0], lambda share: f"{round(100 * share, 6):g} %")


def logarithmic(label: str, values: Sequence[float]) -> Axis:
    """Returns an axis of factors around the values, all above 0."""
    low, high = min(values) / 1.25, max(values) * 1.25
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1,) if high / low > 200 else (1, 3) if high / low > 20 else (1, 2, 5)
    marks = [factor * 10.0**power for power in powers for factor in factors]
    return Axis(label, low, high, tuple((m, short(m)) for m in marks if low <= m <= high), log=True)


def named(label: str, names: Sequence[str]) -> Axis:
    """Returns an axis with a place for each name, at 0, 1, 2, ..."""
    return Axis(label, -0.5, len(names) - 0.5, tuple((float(i), name) for i, name in enumerate(names)))


def short(value: float) -> str:
    """Returns a number in few characters: 260K, 33M, 0.25, 1,024."""
    for unit, sign in ((1e9, "B"), (1e6, "M")):
        if abs(value) >= unit:
            return f"{value / unit:.3g}{sign}"
    if abs(value) >= 10_000:
        return f"{value / 1000:.4g}K"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.6g}"


def beside(number: int, of: int) -> float:
    """Returns how far from a name's place the bar of one of several series stands."""
    return (number - (of - 1) / 2) * _GROUP / of


def histogram(title: str, label: str, series: tuple[Series, ...], of: str = "stories") -> Chart:
    """Returns the chart of scores that `binned` has counted."""
    highest = max(point.y for one in series for point in one.points)
    axis = Axis(label, 0.0, 1.0, tuple((i / 5, f"{i / 5:g}") for i in range(6)))
    return Chart(title, axis, up_to(f"share of {of}", highest), series, "histogram")


def binned(name: str, style: int, scores: Sequence[float], *, dashed: bool = False) -> Series:
    """Returns the shares of scores between 0 and 1 in bins; what is 1 counts in the last one."""
    bins = round(1 / _BAR)
    counts = [0] * bins
    for score in scores:
        counts[min(int(score * bins + 1e-9), bins - 1)] += 1
    return Series(name, style, tuple(_bin(i, bins, n / len(scores)) for i, n in enumerate(counts)), dashed)


def _bin(i: int, bins: int, share: float) -> Point:
    return Point(i / bins, share, f"{i / bins:.2f} to {(i + 1) / bins:.2f}", f"{100 * share:.1f} %")
