"""Stories and probes of several evaluations, laid side by side."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tinyjax.evaluate.report.measures import GRADES, having
from tinyjax.evaluate.report.reading import Evaluation

_ENDS = {"end": "finished", "stop": "finished", "length": "cut off"}


@dataclasses.dataclass(frozen=True)
class Story:
    """A completion, and what was said of it."""

    style: int
    text: str  # what comes after the opening
    ending: str  # "" where it isn't known
    tokens: int | None
    grades: dict[str, float]
    age: str
    assessment: str

    @property
    def grade(self) -> float | None:
        """The mean of its grades."""
        return sum(self.grades.values()) / len(self.grades) if self.grades else None


@dataclasses.dataclass(frozen=True)
class Opening:
    """An opening with all its completions: a row for each sample, with one of each model."""

    text: str  # "" of a story that has none
    rows: tuple[tuple[int, tuple[Story, ...]], ...]


def openings(evaluations: Sequence[Evaluation]) -> list[Opening]:
    """Returns the openings in the order they were told in, with the completions of all models."""
    found: dict[tuple[str, int], dict[int, list[Story]]] = {}
    for style, evaluation in enumerate(evaluations):
        for record, graded in _with_grades(evaluation):
            prompt, sample = record["prompt"], record["sample"]
            samples = found.setdefault((prompt, 0 if prompt else sample), {})
            samples.setdefault(sample, []).append(_story(style, record, graded))
    return [
        Opening(text, tuple((sample, tuple(samples[sample])) for sample in sorted(samples)))
        for (text, _), samples in found.items()
    ]


def _with_grades(evaluation: Evaluation) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Yields the stories with their judgements, then those that were judged and not told here."""
    judged = evaluation.parts.get("judge", {}).get("grades") or ()
    graded = {(one["prompt"], one["sample"]): one for one in judged}
    for record in evaluation.stories:
        yield record, graded.pop((record["prompt"], record["sample"]), {})
    yield from ((one, one) for one in graded.values() if one.get("story"))


def _story(style: int, record: Mapping[str, Any], graded: Mapping[str, Any]) -> Story:
    finish = record.get("finish", "")
    return Story(
        style=style,
        text=record["story"].removeprefix(record["prompt"]),
        ending=_ENDS.get(finish, finish),
        tokens=record.get("tokens"),
        grades={name: graded[name] for name in GRADES if graded.get(name) is not None},
        age=graded.get("age") or "",
        assessment=graded.get("assessment") or "",
    )


@dataclasses.dataclass(frozen=True)
class Choice:
    """What a model chose."""

    style: int
    chosen: str
    correct: bool


@dataclasses.dataclass(frozen=True)
class Probe:
    """An item with what each model chose."""

    group: str
    prompt: str
    right: str
    choices: tuple[Choice, ...]

    @property
    def outcome(self) -> str:
        """Whether all, some or none of the models were right."""
        right = {choice.correct for choice in self.choices}
        return "differ" if len(right) > 1 else "right" if True in right else "wrong"


def probes(evaluations: Sequence[Evaluation]) -> list[Probe]:
    """Returns the items of all evaluations, each once."""
    found: dict[tuple[str, str, str], list[Choice]] = {}
    for style, _, items in having(evaluations, "probes", "items"):
        for item in items:
            choice = Choice(style, item["chosen"], item["correct"])
            found.setdefault((item["group"], item["prompt"], item["right"]), []).append(choice)
    return [Probe(*key, tuple(choices)) for key, choices in found.items()]


def flat(tree: Mapping[str, Any], *names: str) -> Iterator[tuple[str, Any]]:
    """Yields the names and values of what lies in objects within objects; intervals stay whole."""
    for name, value in tree.items():
        if isinstance(value, Mapping) and "value" not in value:
            yield from flat(value, *names, name)
        elif isinstance(value, Mapping | int | float) and not isinstance(value, bool):
            yield ", ".join((*names, name)), value
