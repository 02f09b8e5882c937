"""Judgements from files: real tables of others, a broken one, and our own."""

import csv
import dataclasses
import json
import pathlib

import numpy as np
import pytest

from tests.evaluate.judge.server import Answer, JudgeServer
from tests.evaluate.judge.test_grading import EXERCISES, LINE, LINE_GRADES, ask
from tinyjax.errors import UserError
from tinyjax.evaluate.judge.recorded import read_judgements
from tinyjax.evaluate.judge.summary import Judged, summarise

HEAD = "id,story,assessment,grammar,creativity,consistency,score\n"


def test_a_thousand_real_judgements_have_the_means_of_a_plain_computation(shared_data: pathlib.Path):
    path = shared_data / "judged" / "mistral7b-judge-tinystories33m.csv"
    found = read_judgements(path)
    result = summarise(found.judge, found.template, found.stories)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, escapechar="\\", doublequote=False))
    assert (result["asked"], result["graded"], result["coverage"], found.unreadable) == (1000, 1000, 1.0, [])
    for name in ("grammar", "creativity", "consistency"):
        wanted = np.mean([float(row[name]) for row in rows])
        estimate = result["means"][name]
        assert estimate["value"] == pytest.approx(wanted)
        assert estimate["low"] < wanted < estimate["high"]
        assert estimate["count"] == 1000
    assert result["means"]["plot"] is None
    assert result["ages"] == {"A": 0, "B": 3, "C": 985, "D": 0, "E": 6, "F": 5}
    assert found.stories[3].story == rows[3]["story"].replace("\\n", "\n")
    assert found.judge == "mistral7b-judge-tinystories33m"


def test_a_malformed_table_tells_which_rows_it_lost_and_has_no_means(shared_data: pathlib.Path):
    found = read_judgements(shared_data / "judged" / "malformed.csv")
    assert len(found.stories) + len(found.unreadable) == 50
    assert {story.sample for story in found.stories} == {13, 31, 37, 38}
    assert found.unreadable[0].startswith("row 0 (line 2): a quote that isn't escaped")
    assert found.unreadable[-1].startswith("row 49 (line 695): ")
    unread = [Judged("", 0, "", None, "unreadable")] * len(found.unreadable)
    result = summarise(found.judge, found.template, found.stories + unread)
    assert (result["coverage"], result["means"]) == (4 / 50, None)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('1,"a","b",8,7,11,C', "row 1 (line 3): '11' is not from 0 to 10"),
        ('1,"a","b",8,7,,C', "row 1 (line 3): '' is no grade"),
        ('1,"a","b",8,7,C', "row 1 (line 3): 6 cells and not 7"),
        ('1,"a "b" c","b",8,7,6,C', "row 1 (line 3): a quote that isn't escaped"),
    ],
)
def test_a_bad_row_is_told_and_the_others_are_read(row: str, said: str, tmp_path: pathlib.Path):
    good = '{},"He said ""{}"", \nand\n went.","Good, {}.",8,7.5,6/10,C: 6-7.\n'
    backslashed = '2,"He said \\"2\\", \nand\n went.","Good, 2.",8,7.5,6/10,C: 6-7.\n'
    path = tmp_path / "table.csv"
    path.write_text(HEAD + "0,a,b,8,7,6,E\n" + row + "\n" + backslashed + good.format(3, 3, 3))
    found = read_judgements(path)
    assert [story.sample for story in found.stories] == [0, 2, 3]
    assert found.stories[1].story == 'He said "2", \nand\n went.'
    assert found.stories[2].grades
    assert found.stories[2].grades.values == {"grammar": 8.0, "creativity": 7.5, "consistency": 6.0}
    assert [problem[: len(said)] for problem in found.unreadable] == [said]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"id,story\n1,a\n", "has no column assessment, grammar"),
        ("a.csv", HEAD.encode(), "no judgement can be read"),
        ("a.csv", (HEAD + "a,b,c,d,e,f,g\n").encode(), "no judgement .*row a .line 2.: its id is no number"),
        ("a.csv", b"\xff\xfe", "is not UTF-8"),
        ("a.jsonl", b"{}\n", "no judgement can be read from '.*a.jsonl': line 1: "),
        ("a.txt", b"", "neither .jsonl nor .csv"),
    ],
)
def test_a_file_of_something_else_is_refused(name: str, content: bytes, said: str, tmp_path: pathlib.Path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=said):
        read_judgements(tmp_path / name)


def test_our_own_file_is_read_again(judge: JudgeServer, tmp_path: pathlib.Path):
    judge.always = Answer(LINE)
    ask(judge, tmp_path)
    path = tmp_path / "judgements.jsonl"
    path.write_text(path.read_text() + "no judgement\n")
    found = read_judgements(path)
    assert found.judge == "a judge"
    assert [story.story for story in found.stories] == [e.prompt + e.completion for e in EXERCISES]
    assert all(story.grades and story.grades.values == LINE_GRADES for story in found.stories)
    assert found.stories[0].assessment == LINE
    assert found.unreadable == ["line 13: JSONDecodeError, no judgement"]


def test_of_several_judges_one_is_named(judge: JudgeServer, tmp_path: pathlib.Path):
    judge.always = Answer(LINE)
    for name in ("first", "second"):
        ask(judge, tmp_path, EXERCISES[:2], judge=name)
    path = tmp_path / "judgements.jsonl"
    with pytest.raises(UserError, match=r"several kinds of judgements .first, .*; second, .*--judge"):
        read_judgements(path)
    assert read_judgements(path, "second").judge == "second"
    assert read_judgements(path, other_than="second").judge == "first"
    with pytest.raises(UserError, match="no judgement"):
        read_judgements(path, "third")


def test_what_was_not_asked_to_the_end_has_no_grades(judge: JudgeServer, tmp_path: pathlib.Path):
    judge.always = Answer(LINE)
    ask(judge, tmp_path, EXERCISES[:1])
    path = tmp_path / "judgements.jsonl"
    first = json.loads(path.read_text().splitlines()[0])
    path.write_text(json.dumps(first) + "\n")
    (story,) = read_judgements(path).stories
    assert (story.grades, story.problem) == (None, "not asked to the end")
    assert dataclasses.asdict(story)["assessment"] == ""
