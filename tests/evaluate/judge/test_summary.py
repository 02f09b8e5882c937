"""Means only where nearly all stories were graded, intervals by opening, and how far two judges agree."""

import numpy as np
import pytest
import scipy.stats

from tinyjax.evaluate.estimates import mean
from tinyjax.evaluate.judge.grades import Grades
from tinyjax.evaluate.judge.summary import Judged, agreement, normalise, summarise


def judged(grammar: float | None, prompt: str = "Once", number: int = 0, **others: float) -> Judged:
    values = {"grammar": grammar or 0.0, "creativity": 5.0, "consistency": 6.0, "plot": 7.0} | others
    grades = None if grammar is None else Grades(values, "C")
    return Judged(prompt, number, f"{prompt} {number}", grades, "" if grades else "the judge refused")


def test_means_have_the_intervals_of_their_openings():
    stories = [judged(float(i % 7), f"opening {i // 10}", i) for i in range(100)]
    result = summarise("j", "t", stories)
    wanted = mean([i % 7 for i in range(100)], [i // 10 for i in range(100)])
    assert result["means"]["grammar"] == {
        "value": wanted.value,
        "low": wanted.low,
        "high": wanted.high,
        "count": 100,
    }
    assert (result["asked"], result["graded"], result["coverage"]) == (100, 100, 1.0)
    assert result["ages"] == {"A": 0, "B": 0, "C": 100, "D": 0, "E": 0, "F": 0}


@pytest.mark.parametrize(("failed", "told"), [(5, True), (6, False)])
def test_no_mean_below_95_of_100_and_what_failed_is_never_0(failed: int, told: bool):
    stories = [judged(None if i < failed else 8.0, number=i) for i in range(100)]
    result = summarise("j", "t", stories)
    assert result["coverage"] == 1 - failed / 100
    assert result["problems"] == {"the judge refused": failed}
    assert result["grades"][0]["grammar"] is None
    assert (result["means"] is not None) == (result["normalised"] is not None) == told
    assert not told or result["means"]["grammar"]["value"] == 8.0


def test_no_story_at_all_has_no_mean():
    assert summarise("j", "t", [])["means"] is None


def test_grades_are_normalised_as_in_figure_4():
    """(a - min) / (max - min) of the column: GPT-2 small is 0 and GPT-4 is 1."""
    lowest = {"grammar": 5.40, "consistency": 4.32, "creativity": 3.70}
    highest = {"grammar": 8.75, "consistency": 9.93, "creativity": 8.21}
    assert [normalise(name, grade) for name, grade in lowest.items()] == pytest.approx([0, 0, 0])
    assert [normalise(name, grade) for name, grade in highest.items()] == pytest.approx([1, 1, 1])
    assert normalise("grammar", 7.075) == pytest.approx(0.5)
    assert normalise("plot", 7.0) is None  # it isn't in the figure's rows
    assert summarise("j", "t", [judged(7.075)])["normalised"]["grammar"] == pytest.approx(0.5)


def test_a_grade_that_a_judge_does_not_give_has_no_mean():
    grades = Grades({"grammar": 8.0, "creativity": 7.0, "consistency": 6.0}, None)
    result = summarise("j", "t", [Judged("", 0, "a story", grades)])
    assert result["means"]["plot"] is None
    assert result["means"]["grammar"]["value"] == 8.0
    assert result["ages"] == dict.fromkeys("ABCDEF", 0)


def test_agreement_is_that_of_the_stories_that_both_graded():
    rng = np.random.default_rng(0)
    first = rng.integers(0, 11, 50).astype(float)
    second = np.clip(first + rng.integers(-2, 2, 50), 0, 10)
    stories = [judged(grade, f"opening {i // 5}", i) for i, grade in enumerate(first)]
    others = {
        story.story: judged(grade, creativity=5.0).grades
        for story, grade in zip(stories, second, strict=True)
        if story.sample >= 10
    }
    found = agreement("other", [*stories, judged(None, number=99)], others)  # ty: ignore
    grammar = found["by_grade"]["grammar"]
    assert (found["judge"], found["pairs"]) == ("other", 40)
    assert grammar["pearson"] == pytest.approx(scipy.stats.pearsonr(first[10:], second[10:]).statistic)
    wanted = mean(first[10:] - second[10:], [i // 5 for i in range(10, 50)])
    assert grammar["mean_difference"]["value"] == pytest.approx(wanted.value)
    assert grammar["mean_difference"]["low"] == pytest.approx(wanted.low)
    assert found["by_grade"]["creativity"]["pearson"] is None  # always the same grade


def test_judges_of_different_stories_have_no_agreement():
    found = agreement("other", [judged(8.0)], {"another story": Grades({"grammar": 8.0}, None)})
    assert found == {"judge": "other", "pairs": 0, "by_grade": {}}


def test_the_papers_rows_stand_beside():
    rows = summarise("j", "t", [judged(8.0)])["reference"]
    assert {
        "model": "GPT-4",
        "grammar": 8.75,
        "consistency": 9.93,
        "creativity": 8.21,
        "source": "paper, Figure 4",
    } in rows
    assert len(rows) == 15
