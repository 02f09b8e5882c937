"""Grades are read from whatever a judge writes, and never guessed."""

import csv
import pathlib

import pytest

from tinyjax.evaluate.judge.grades import UnreadableError, read_age, read_grades, read_value

WANTED = {"grammar": 8.0, "creativity": 7.0, "consistency": 6.5, "plot": 9.0}


@pytest.mark.parametrize(
    "reply",
    [
        "Grammar: 8/10, Creativity: 7/10, Consistency: 6.5/10, Plot: 9/10, Age group: E (10-12)",
        '{"grammar": 8, "creativity": 7, "consistency": 6.5, "plot": 9, "age_group": "E"}',
        'Here you are:\n```json\n{\n  "age_group": "E",\n  "plot": "9/10",\n  "grammar": "8",\n'
        '  "creativity": 7.0,\n  "consistency": 6.5\n}\n```\nAnything else?',
        '{"grades": {"grammar": {"score": 8, "why": "3 slips"}, "creativity": {"score": 7}, "consistency": '
        '{"score": 6.5}, "plot": {"score": 9}}, "age": "10-12"}',
        "**Grammar:** 8/10\n**Creativity:** 7 out of 10\n**Consistency with the story's beginning:** 6.5/10\n"
        "**Plot (does it make sense?):** 9\n\n**Age group:** E: 10-12.",
        "- Plot - 9/10\n- Consistency - 6,5/10\n- Creativity - 7/10\n- Grammar - 8/10\n- Age group - E",
        "| | |\n|---|---|\n| Grammar | 8 |\n| Creativity | 7 |\n| Consistency | 6.5 |\n| Plot | 9 |\n"
        "| Age | E |",
        "The age group is E. GRAMMAR 8/10; plot is 9 out of 10; creativity gets 7/10, consistency 6.5 / 10.",
        "Grammar: 8. It has 2 slips.\nCreativity: 7.\nConsistency: 6.5.\nPlot: 9.\nAge group: E\nGrammar: 8",
    ],
)
def test_all_forms_are_read(reply: str):
    grades = read_grades(reply)
    assert (grades.values, grades.age) == (WANTED, "E")


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "Grammar: eight",
        "Grammar: 11/10",
        "Grammar: 80%",
        "Grammar: 80/100",
        "Grammar: 4/5",
        "Grammar: 4 (out of 5)",
        "Grammar: -3",
        "Grammar: 7-8",
        "Grammar: 7.5-8/10",
        "Grammar: 7 or 8",
        "Grammar: 7/10 to 8/10",
        "Grammar: 7/10. On second thoughts, grammar: 8/10",
        "The grammar is good, there are 3 slips. Creativity: 8/10",
        "Grammar and creativity: 8/10",
        '{"grammar": null}',
        '{"grammar": "N"}',
        "8/10",
    ],
)
def test_what_is_no_grade_or_not_a_clear_one_is_none(reply: str):
    with pytest.raises(UnreadableError, match="grammar"):
        read_grades(reply, ["grammar"])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8", 8),
        ("8/10", 8),
        ("8.5/10", 8.5),
        ("8 out of 10", 8),
        (" **8** ", 8),
        ("0", 0),
        ("10", 10),
        ("7.", 7),
    ],
)
def test_a_grade_alone(text: str, value: float):
    assert read_value(text) == value


@pytest.mark.parametrize("text", ["", "good", "11", "8/100", "7-8", "-1", "8 9", "nan"])
def test_no_grade_alone(text: str):
    with pytest.raises(UnreadableError):
        read_value(text)


@pytest.mark.parametrize(
    ("text", "age"),
    [
        ("E (10-12)", "E"),
        ("C: 6-7.", "C"),
        ("C (6-7)\\n", "C"),
        ("A: 3 or under", "A"),
        ("3 or younger", "A"),
        ("13–16", "F"),
        ("10-12 years", "E"),
        ("E (13-16", "E"),  # the letter is what was asked for
        ("C or D.\\n\\nThe", None),
        ("20-30", None),
        ("a child", None),
        ("", None),
    ],
)
def test_ages(text: str, age: str | None):
    assert read_age(text) == age


def test_every_age_that_was_recorded_is_read(shared_data: pathlib.Path):
    """All but the one that names two groups."""
    with (shared_data / "judged" / "mistral7b-judge-tinystories33m.csv").open(newline="") as file:
        ages = [row["score"] for row in csv.DictReader(file, escapechar="\\", doublequote=False)]
    assert [age for age in ages if read_age(age) != age[0]] == ["C or D.\\n\\nThe"]
    assert len(ages) == 1000
