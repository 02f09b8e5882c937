"""What many judgements come to: means where enough stories were graded, and how far two judges agree."""

import collections
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tinyjax.evaluate import estimates
from tinyjax.evaluate.estimates import Estimate
from tinyjax.evaluate.judge.grades import AGES, NAMES, Grades
from tinyjax.evaluate.judge.reference import FIGURE_4, FIGURE_24

COVERAGE = 0.95  # stories that must be graded for means to say something; those that can't be are not any


@dataclasses.dataclass(frozen=True)
class Judged:
    """A story, and what a judge thinks of it."""

    prompt: str
    sample: int
    story: str  # prompt included
    grades: Grades | None
    problem: str = ""  # why there are no grades
    assessment: str = ""


def summarise(judge: str, template: str, stories: Sequence[Judged]) -> dict[str, Any]:
    """Returns the part `judge` of an evaluation, as JSON has it.

    Args:
      judge: who graded.
      template: version of what was asked.
      stories: all that were to be graded.
    """
    graded = [story for story in stories if story.grades]
    coverage = len(graded) / max(len(stories), 1)
    means = grade_means(graded) if graded and coverage >= COVERAGE else None
    return {
        "judge": judge,
        "template": template,
        "asked": len(stories),
        "graded": len(graded),
        "coverage": coverage,
        "means": means and {name: mean and dataclasses.asdict(mean) for name, mean in means.items()},
        "normalised": means and {name: mean and normalise(name, mean.value) for name, mean in means.items()},
        "ages": _ages(graded),
        "agreement": None,
        "grades": [_row(story) for story in stories],
        "problems": dict(collections.Counter(story.problem for story in stories if not story.grades)),
        "reference": [dataclasses.asdict(row) for row in FIGURE_4 + FIGURE_24],
    }


def grade_means(graded: Sequence[Judged]) -> dict[str, Estimate | None]:
    """Returns the mean of each grade; those of an opening stand together. None: a judge didn't give it."""
    return {name: _mean(name, graded) for name in NAMES}


def _mean(name: str, graded: Sequence[Judged]) -> Estimate | None:
    values = [story.grades.values.get(name) for story in graded if story.grades]
    given = [value for value in values if value is not None]
    return estimates.mean(given, _groups(graded)) if len(given) == len(graded) else None


def _groups(stories: Sequence[Judged]) -> list[str]:
    """Returns what stories share: their prompt; one without a prompt shares nothing."""
    return [story.prompt or story.story for story in stories]


def normalise(name: str, grade: float) -> float | None:
    """Returns (a - min) / (max - min), as in the paper's Figure 4; None for a grade that isn't in it.

    Minimum and maximum are those of the figure's rows that we have, from GPT-2 small to GPT-4. Grades of
    another judge than the paper's may fall outside of 0 to 1.
    """
    column: list[float] = [getattr(row, name) for row in FIGURE_4 if hasattr(row, name)]
    if not column:
        return None
    return (grade - min(column)) / (max(column) - min(column))


def _ages(graded: Sequence[Judged]) -> dict[str, int]:
    counts = collections.Counter(story.grades.age for story in graded if story.grades)
    return {letter: counts[letter] for letter in AGES}


def _row(story: Judged) -> dict[str, Any]:
    values, age = (story.grades.values, story.grades.age) if story.grades else ({}, None)
    return {
        "prompt": story.prompt,
        "sample": story.sample,
        **{name: values.get(name) for name in NAMES},
        "age": age,
        "story": story.story,
        "assessment": story.assessment,
        "problem": story.problem,
    }


def agreement(judge: str, first: Sequence[Judged], second: Mapping[str, Grades]) -> dict[str, Any]:
    """Returns how far a second judge agrees about the stories that both have graded.

    Args:
      judge: the second one.
      first: the first judge's.
      second: the second one's grades, by story.
    """
    pairs = [
        (story, second[story.story.strip()])
        for story in first
        if story.grades and story.story.strip() in second
    ]
    by_grade = {name: _agreement(name, pairs) for name in NAMES} if pairs else {}
    return {
        "judge": judge,
        "pairs": len(pairs),
        "by_grade": {name: found for name, found in by_grade.items() if found},
    }


def _agreement(name: str, pairs: Sequence[tuple[Judged, Grades]]) -> dict[str, Any] | None:
    """Returns correlation and mean difference, first minus second; None where one doesn't give this grade."""
    both = [
        (story, story.grades.values[name], other.values[name])
        for story, other in pairs
        if story.grades and name in story.grades.values and name in other.values
    ]
    if not both:
        return None
    stories, first, second = zip(*both, strict=True)
    difference = estimates.mean(np.subtract(first, second), _groups(stories))
    return {"pearson": _pearson(first, second), "mean_difference": dataclasses.asdict(difference)}


def _pearson(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Returns the correlation; None where it has none, since one always gives the same."""
    if len(set(first)) < 2 or len(set(second)) < 2:
        return None
    value = float(np.corrcoef(first, second)[0, 1])
    return None if math.isnan(value) else value
