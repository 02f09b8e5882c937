"""What was measured, as reports write it, and the measures by which models are compared."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from tinyjax.evaluate.report import charts
from tinyjax.evaluate.report.reading import Evaluation

GRADES = ("grammar", "creativity", "consistency", "plot")
Interval = Mapping[str, Any]  # an `Estimate` as JSON


@dataclasses.dataclass(frozen=True)
class Unit:
    """How figures of a kind are written."""

    name: str
    digits: int
    factor: float = 1.0
    sign: str = ""

    def show(self, value: float) -> str:
        """Returns a value for people."""
        return f"{self.factor * value:,.{self.digits}f}{self.sign}"

    def span(self, interval: Interval) -> str:
        """Returns the ends of an interval for people."""
        return f"{self.show(interval['low'])} to {self.show(interval['high'])}"

    def tick(self, value: float) -> str:
        """Returns a round value for an axis."""
        return f"{charts.short(round(self.factor * value, 6))}{self.sign}"


NATS = Unit("nats/token", 3)
BITS = Unit("bits/byte", 3)
GRADE = Unit("grade of 10", 2)
SHARE = Unit("share", 1, 100.0, " %")


@dataclasses.dataclass(frozen=True)
class Measure:
    """A figure that every evaluation may have, by which models are compared."""

    name: str
    unit: Unit
    of: Callable[[Evaluation], Interval | None]


def measures(evaluations: Sequence[Evaluation]) -> list[Measure]:
    """Returns the measures that at least one of the evaluations has."""
    found = [
        Measure("bits/byte", BITS, _getter("loss", "bits_per_byte")),
        *(Measure(name, GRADE, _getter("judge", "means", name)) for name in GRADES),
        *(
            Measure(f"{name} probes", SHARE, _getter("probes", "groups", name, "accuracy"))
            for name in probe_groups(evaluations)
        ),
        Measure("stories finished", SHARE, _getter("quality", "finished")),
    ]
    return [measure for measure in found if any(measure.of(e) for e in evaluations)]


def probe_groups(evaluations: Sequence[Evaluation]) -> list[str]:
    """Returns the names of all groups of probes."""
    return each(groups for _, _, groups in having(evaluations, "probes", "groups"))


def each(many: Iterable[Iterable[str]]) -> list[str]:
    """Returns the names in all of them, each once, in the order they were found in."""
    return list(dict.fromkeys(name for names in many for name in names))


def _getter(part: str, *keys: str) -> Callable[[Evaluation], Interval | None]:
    """Returns what looks something up in a part, None where it isn't there."""

    def of(evaluation: Evaluation) -> Interval | None:
        value: Any = evaluation.parts.get(part)
        for key in keys:
            value = value.get(key) if value else None
        return value

    return of


def having(
    evaluations: Sequence[Evaluation], part: str, key: str = ""
) -> Iterator[tuple[int, Evaluation, Any]]:
    """Yields the style, evaluation and value of those that have a part, or a key of it."""
    for style, evaluation in enumerate(evaluations):
        found = evaluation.parts.get(part)
        value = found.get(key) if found and key else found
        if value:
            yield style, evaluation, value
