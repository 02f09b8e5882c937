"""A judge that misbehaves: what can be mended is, what can't is no grade, and nothing is asked twice."""

import datetime
import email.utils
import itertools
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from typing import Any

import pytest
from etils import epath

from tests.binaries import ROOT
from tests.evaluate.judge.server import ASSESSMENT, Answer, JudgeServer, grades_of
from tinyjax.cache import cache_entry
from tinyjax.errors import UserError
from tinyjax.evaluate.judge.client import Budget, Endpoint
from tinyjax.evaluate.judge.grading import Graded, grade
from tinyjax.evaluate.judge.protocol import TEMPLATE, Exercise
from tinyjax.evaluate.judge.recorded import judged
from tinyjax.evaluate.judge.summary import Judged

KEY = "sk-not-a-real-key-1234"
EXERCISES = [Exercise(f"Lily saw {i} kites and", f" was happy {i} times.") for i in range(6)]
LINE = "Grammar: 8/10, Creativity: 7/10, Consistency: 6/10, Plot: 5/10, Age group: C (6-7)"
LINE_GRADES = {"grammar": 8.0, "creativity": 7.0, "consistency": 6.0, "plot": 5.0}


def ask(
    server: JudgeServer,
    folder: pathlib.Path,
    exercises=EXERCISES,
    budget: Budget | None = None,
    concurrency: int = 1,
    **settings: Any,
) -> Graded:
    usual: dict[str, Any] = {"judge": "a judge", "base_url": server.url, "key": KEY, "backoff": 0.005}
    usual.update(settings)
    path = folder / "judgements.jsonl"
    return grade(exercises, Endpoint(**usual), budget or Budget(), path, concurrency=concurrency)


def verdicts(graded: Graded, exercises=EXERCISES) -> list[Judged]:
    return [judged(exercise, 0, graded.replies.get(exercise, [])) for exercise in exercises]


def lines(folder: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "judgements.jsonl").read_text().splitlines()]


def assert_good(judge: JudgeServer, graded: Graded, exercises=EXERCISES) -> None:
    """All exercises have the grades of the good judge, and none was answered twice."""
    for verdict, exercise in zip(verdicts(graded, exercises), exercises, strict=True):
        question = next(a for a in judge.requests if exercise.completion in a.messages[0]["content"])
        wanted = grades_of(question.messages[0]["content"])
        assert verdict.grades, verdict
        assert verdict.grades.age == wanted.pop("age_group")
        assert verdict.grades.values == wanted
    assert judge.answered_twice == []
    assert graded.stopped == ""


def test_it_is_asked_for_an_assessment_and_then_for_grades(judge: JudgeServer, tmp_path: pathlib.Path):
    graded = ask(judge, tmp_path, concurrency=4)
    assert_good(judge, graded)
    assert len(judge.requests) == 12
    story = "Lily saw 3 kites and*** was happy 3 times."
    first, second = [asked for asked in judge.requests if story in asked.messages[0]["content"]]
    assert "response_format" not in first.body
    assert second.messages[:2] == [*first.messages, {"role": "assistant", "content": ASSESSMENT}]
    assert "the beginning" in second.messages[2]["content"]
    assert "F: 13-16" in second.messages[2]["content"]
    schema = second.body["response_format"]["json_schema"]["schema"]
    assert schema["required"] == ["grammar", "creativity", "consistency", "plot", "age_group"]
    assert first.body["model"] == "a judge"
    assert first.body["temperature"] == 0
    assert verdicts(graded)[3].assessment == ASSESSMENT


def test_instructions_are_shown_and_consistency_is_with_them(judge: JudgeServer, tmp_path: pathlib.Path):
    exercise = Exercise("Words: oak, gloomy\nSummary: Ben climbs.\nStory: \n\n", "Ben saw an oak.")
    graded = ask(judge, tmp_path, [exercise])
    assert_good(judge, graded, [exercise])
    first, second = judge.requests
    for said in ("oak, gloomy", "Ben climbs.", "***Ben saw an oak."):
        assert said in first.messages[0]["content"]
    assert "Story:" not in first.messages[0]["content"]
    assert "consistency with what was asked" in second.messages[-1]["content"]


@pytest.mark.parametrize(
    "fault",
    [
        Answer(status=500, error={"message": "oops"}),
        Answer(status=503, page="<h1>busy</h1>"),
        Answer(page="<h1>a gateway's page</h1>"),
        Answer(hang_up=True),
        Answer(delay=0.8),
        Answer(status=429, error={"message": "slow down"}),
    ],
    ids=["500", "503", "page", "hang up", "slow", "429"],
)
def test_what_passes_is_asked_again(fault: Answer, judge: JudgeServer, tmp_path: pathlib.Path):
    judge.answers.extend([fault, Answer(), fault, fault])
    graded = ask(judge, tmp_path, EXERCISES[:2], timeout=0.4)
    assert [bool(verdict.grades) for verdict in verdicts(graded, EXERCISES[:2])] == [True, True]
    assert len(judge.requests) == 4 + 3


def test_it_waits_as_long_as_it_is_told_with_all_conversations(judge: JudgeServer, tmp_path: pathlib.Path):
    judge.answers.extend([Answer(), Answer(status=429, headers={"Retry-After": "0.7"})])
    assert_good(judge, ask(judge, tmp_path, concurrency=3))
    times = sorted(asked.time for asked in judge.requests)
    assert max(later - sooner for sooner, later in itertools.pairwise(times)) > 0.6


def test_it_waits_until_the_time_that_it_is_told(judge: JudgeServer, tmp_path: pathlib.Path):
    until = datetime.datetime.now(datetime.UTC).replace(microsecond=0) + datetime.timedelta(seconds=2)
    header = email.utils.format_datetime(until, usegmt=True)
    judge.answers.append(Answer(status=429, headers={"Retry-After": header}))
    assert_good(judge, ask(judge, tmp_path, EXERCISES[:1]), EXERCISES[:1])
    assert judge.requests[1].time >= until.timestamp() - 0.01


def test_who_is_told_to_come_back_tomorrow_stops(judge: JudgeServer, tmp_path: pathlib.Path):
    judge.answers.extend([Answer(), Answer(), Answer(status=429, headers={"Retry-After": "86400"})])
    graded = ask(judge, tmp_path)
    assert "429" in graded.stopped
    assert sum(bool(verdict.grades) for verdict in verdicts(graded)) == 1
    assert_good(judge, ask(judge, tmp_path))


def test_an_account_without_money_stops(judge: JudgeServer, tmp_path: pathlib.Path):
    error = {"message": "no credit", "code": "insufficient_quota"}
    judge.answers.extend([Answer(), Answer(), Answer(status=429, error=error)])
    graded = ask(judge, tmp_path)
    assert "used up (429: " in graded.stopped
    assert len(judge.requests) == 3


def test_a_judge_that_is_gone_is_given_up_soon_and_nothing_is_lost(
    judge: JudgeServer, tmp_path: pathlib.Path
):
    judge.answers.extend([Answer(), Answer(), Answer()])
    judge.always = Answer(status=502, error={"message": "bad gateway"})
    graded = ask(judge, tmp_path, [*EXERCISES, *(Exercise("More", f" {i}.") for i in range(100))])
    assert "502" in graded.stopped
    assert len(judge.requests) == 3 + 3 * 6
    judge.always = None
    assert_good(judge, ask(judge, tmp_path))


@pytest.mark.parametrize("count", [1, 6])
def test_a_judge_that_never_answers_is_an_error(count: int, judge: JudgeServer, tmp_path: pathlib.Path):
    judge.always = Answer(status=500)
    with pytest.raises(UserError, match="'a judge' graded nothing: 500"):
        ask(judge, tmp_path, EXERCISES[:count], concurrency=2)


def test_a_story_without_an_answer_is_told_and_asked_about_the_next_time(
    judge: JudgeServer, tmp_path: pathlib.Path
):
    judge.answers.extend([Answer(status=500)] * 6)
    graded = ask(judge, tmp_path)
    assert graded.stopped.startswith("500")
    assert [bool(verdict.grades) for verdict in verdicts(graded)] == [False] + [True] * 5
    assert_good(judge, ask(judge, tmp_path))


def test_nobody_at_the_address_is_an_error(tmp_path: pathlib.Path):
    endpoint = Endpoint("a judge", "http://user:secret@127.0.0.1:9/v1?token=secret", backoff=0.001)
    with pytest.raises(UserError, match=r"http://127\.0\.0\.1:9/v1 can't be reached") as error:
        grade(EXERCISES, endpoint, Budget(), tmp_path / "judgements.jsonl")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("status", [401, 403, 404, 400])
def test_a_wrong_key_or_name_is_an_error_at_once_that_does_not_tell_the_key(
    status: int, judge: JudgeServer, tmp_path: pathlib.Path
):
    judge.always = Answer(status=status, error={"message": f"Incorrect: {KEY}"})
    with pytest.raises(UserError, match=rf"answers {status}: .*\[key\].*check") as error:
        ask(judge, tmp_path)
    assert KEY not in str(error.value)
    assert len(judge.requests) == 1
    assert judge.requests[0].headers["Authorization"] == f"Bearer {KEY}"


def test_the_key_is_not_kept_even_where_the_judge_repeats_it(judge: JudgeServer, tmp_path: pathlib.Path):
    judge.answers.append(Answer(f"Your key is {KEY}."))
    judge.answers.append(Answer(f"Your key is {KEY}."))
    judge.answers.append(Answer(refusal=f"I refuse {KEY}."))
    graded = ask(judge, tmp_path, EXERCISES[:1])
    assert "[key]" in graded.replies[EXERCISES[0]][0].text
    assert KEY not in (tmp_path / "judgements.jsonl").read_text() + repr(graded)
    assert KEY not in repr(Endpoint("a judge", judge.url, KEY))


@pytest.mark.parametrize(
    "bad",
    [
        Answer("It is quite good."),
        Answer("Grammar: 8/10, Creativity: 11/10, Consistency: 6/10, Plot: 5/10, Age group: C"),
        Answer('{"grammar": 8, "creat', finish="length"),
        Answer(refusal="I won't grade children."),
        Answer("", finish="content_filter"),
        Answer(LINE.replace("C (6-7)", "C or D")),
        Answer("<think>Grammar: 3/10? No", finish="length"),
    ],
    ids=["prose", "out of range", "cut off", "refusal", "filter", "two ages", "thinking"],
)
def test_grades_that_cannot_be_read_are_asked_for_once_more(
    bad: Answer, judge: JudgeServer, tmp_path: pathlib.Path
):
    judge.answers.extend([Answer(), bad, Answer(f"<think>Grammar: 1/10?</think>{LINE}")])
    graded = ask(judge, tmp_path, EXERCISES[:1])
    (verdict,) = verdicts(graded, EXERCISES[:1])
    assert verdict.grades
    assert (verdict.grades.values, verdict.grades.age) == (LINE_GRADES, "C")
    *said, again = judge.requests[2].messages
    assert said[:3] == judge.requests[1].messages
    assert again["content"].startswith("That can't be read: ")


def test_what_stays_unreadable_is_no_grade_and_its_text_is_kept(judge: JudgeServer, tmp_path: pathlib.Path):
    judge.answers.extend([Answer(), Answer("Lovely!"), Answer("I said lovely, grammar: 12/10!")])
    graded = ask(judge, tmp_path, EXERCISES[:1])
    (verdict,) = verdicts(graded, EXERCISES[:1])
    assert (verdict.grades, verdict.problem) == (None, "grammar is not from 0 to 10")
    record = lines(tmp_path)[-1]
    assert [reply["text"] for reply in record["replies"]][1:] == ["Lovely!", "I said lovely, grammar: 12/10!"]
    assert (record["done"], record["grades"]) == (True, None)
    ask(judge, tmp_path, EXERCISES[:1])
    assert len(judge.requests) == 3


def test_a_judge_that_names_no_age_twice_has_given_grades(judge: JudgeServer, tmp_path: pathlib.Path):
    no_age = LINE.replace("C (6-7)", "unknown")
    for last in (no_age, "What?"):
        judge.answers.extend([Answer(), Answer(no_age), Answer(last)])
    graded = ask(judge, tmp_path, EXERCISES[:2])
    for verdict in verdicts(graded, EXERCISES[:2]):
        assert verdict.grades
        assert (verdict.grades.values, verdict.grades.age) == (LINE_GRADES, None)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (Answer(refusal="No."), "the judge refused"),
        (Answer("", finish="content_filter"), "the judge's filter withheld the reply"),
        (Answer(status=400, error={"message": "filtered", "code": "content_filter"}), "the judge's filter"),
        (Answer("<think>Let me see", finish="length"), "the reply was cut off"),
        (Answer("  "), "the reply was empty"),
    ],
)
def test_without_an_assessment_there_are_no_grades(
    answer: Answer, problem: str, judge: JudgeServer, tmp_path: pathlib.Path
):
    judge.answers.append(answer)
    graded = ask(judge, tmp_path, EXERCISES[:2])
    bad, good = verdicts(graded, EXERCISES[:2])
    assert bad.grades is None
    assert bad.problem.startswith(f"no assessment: {problem}")
    assert good.grades
    assert len(judge.requests) == 3


def test_an_assessment_that_was_cut_off_is_one(judge: JudgeServer, tmp_path: pathlib.Path):
    judge.answers.append(Answer("It is a good story, but the", finish="length"))
    (verdict,) = verdicts(ask(judge, tmp_path, EXERCISES[:1]), EXERCISES[:1])
    assert verdict.grades


@pytest.mark.parametrize("named", [True, False])
def test_an_endpoint_without_schemas_is_asked_for_one_once(
    named: bool, judge: JudgeServer, tmp_path: pathlib.Path
):
    judge.refuses, judge.names_what_it_refuses = {"response_format"}, named
    judge.always = Answer(LINE)
    graded = ask(judge, tmp_path)
    assert [verdict.grades.values for verdict in verdicts(graded) if verdict.grades] == [LINE_GRADES] * 6
    assert sum("response_format" in asked.body for asked in judge.requests) == 1
    assert len(judge.requests) == 13


def test_an_endpoint_that_knows_neither_temperature_nor_max_tokens(
    judge: JudgeServer, tmp_path: pathlib.Path
):
    judge.refuses = {"temperature", "max_tokens"}
    assert_good(judge, ask(judge, tmp_path))
    assert len(judge.requests) == 12 + 2
    assert judge.requests[-1].body["max_completion_tokens"] == 1024


@pytest.mark.parametrize("calls", [1, 2, 5])
def test_a_budget_of_calls_stops_it_and_the_next_run_goes_on(
    calls: int, judge: JudgeServer, tmp_path: pathlib.Path
):
    """Within a story too: an assessment that is paid for isn't asked for again."""
    graded = ask(judge, tmp_path, budget=Budget(max_calls=calls), concurrency=3)
    assert graded.stopped == f"the budget of {calls} calls is used up"
    assert len(judge.requests) == calls
    again = ask(judge, tmp_path, budget=Budget(max_calls=calls))
    assert again.replies == graded.replies
    assert len(judge.requests) == calls
    assert_good(judge, ask(judge, tmp_path, budget=Budget(max_calls=12)))
    assert len(judge.requests) == 12


def test_a_budget_of_dollars_is_never_overdrawn(judge: JudgeServer, tmp_path: pathlib.Path):
    """A call costs $0.102, for 100 tokens in and 1,000 out; it might cost a bit more."""
    judge.usage = {"prompt_tokens": 100, "completion_tokens": 1000, "total_tokens": 1100}
    budget = Budget(max_usd=0.25, usd_per_million_in=20, usd_per_million_out=100)
    graded = ask(judge, tmp_path, budget=budget)
    assert graded.stopped.startswith("the next call may cost $0.1")
    assert graded.stopped.endswith(", and $0.2040 of $0.25 are spent")
    assert len(judge.requests) == 2
    assert budget.usd == pytest.approx(0.204)
    again = Budget(max_usd=0.30, usd_per_million_in=20, usd_per_million_out=100)
    assert ask(judge, tmp_path, budget=again).replies == graded.replies  # that of the first run is included
    whole = Budget(max_usd=5, usd_per_million_in=20, usd_per_million_out=100)
    assert_good(judge, ask(judge, tmp_path, budget=whole, concurrency=3))
    assert whole.usd == pytest.approx(12 * 0.102)


def test_a_judge_needs_the_extra(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(UserError, match=r"pip install 'tinyjax\[judge\]'"):
        grade(
            EXERCISES, Endpoint("a judge", "http://127.0.0.1:9/v1"), Budget(), tmp_path / "judgements.jsonl"
        )


def test_stories_that_are_alike_are_asked_about_once(judge: JudgeServer, tmp_path: pathlib.Path):
    graded = ask(judge, tmp_path, [EXERCISES[0]] * 5, concurrency=4)
    assert_good(judge, graded, [EXERCISES[0]])
    assert len(judge.requests) == 2


def test_another_judge_or_other_options_are_asked_anew_into_the_same_file(
    judge: JudgeServer, tmp_path: pathlib.Path
):
    changes: list[dict[str, Any]] = [{}, {"judge": "another"}, {"temperature": 0.5}, {"max_tokens": 2000}]
    for settings in changes:
        for _ in range(2):
            ask(judge, tmp_path, EXERCISES[:1], **settings)
    assert len(judge.requests) == 4 * 2
    assert {(line["judge"], line["template"]) for line in lines(tmp_path)} == {
        ("a judge", TEMPLATE),
        ("another", TEMPLATE),
    }


def test_other_words_of_the_protocol_are_another_template(
    judge: JudgeServer, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    ask(judge, tmp_path, EXERCISES[:1])
    monkeypatch.setattr("tinyjax.evaluate.judge.grading.TEMPLATE", "2-other")
    ask(judge, tmp_path, EXERCISES[:1])
    assert len(judge.requests) == 4


PROGRAM = """
import os
from tinyjax.bin import app
from tinyjax.evaluate.judge.client import Budget, Endpoint
from tinyjax.evaluate.judge.grading import grade
from tinyjax.evaluate.judge.protocol import Exercise

app.end_on_sigterm()
many = [Exercise(f"Tom saw {i} boats and", f" sang {i} songs.") for i in range(20)]
judge = Endpoint("a judge", os.environ["URL"])
app.run(lambda _: grade(many, judge, Budget(), os.environ["FILE"], concurrency=2) and None)
"""
MANY = [Exercise(f"Tom saw {i} boats and", f" sang {i} songs.") for i in range(20)]


@pytest.fixture(params=["disk", "gs"])
def file(request: pytest.FixtureRequest, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A path for judgements, and a cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path if request.param == "disk" else request.getfixturevalue("bucket")
    return f"{folder}/judgements.jsonl"


def kept_in(file: str) -> list[str]:
    """The judgements in a file and, for gs://, in the cache."""
    path = epath.Path(file)
    cached = cache_entry("records", path)
    left = cached.read_text().splitlines()[1:] if cached.exists() else []
    return path.read_text().splitlines() + left


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 42), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_a_run_that_was_killed_goes_on_and_asks_nothing_again(
    signum: int, code: int, file: str, judge: JudgeServer
):
    """But for the questions that were under way: one in each conversation."""
    judge.always = Answer(delay=0.05)
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "URL": judge.url, "FILE": file},
        stderr=subprocess.PIPE,
        text=True,
    )
    while len(judge.requests) < 15:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signum)
    _, told = process.communicate(timeout=30)
    assert (process.returncode, "Traceback" in told) == (code, False), told
    kept = len(kept_in(file))
    assert kept >= 10
    if signum != signal.SIGKILL:
        assert len(epath.Path(file).read_text().splitlines()) == kept
    judge.always = None
    before = len(judge.requests)
    graded = grade(MANY, Endpoint("a judge", judge.url), Budget(), file, concurrency=4)
    assert all(verdict.grades for verdict in verdicts(graded, MANY))
    assert len(judge.requests) - before == 40 - kept
    assert len(judge.answered_twice) <= 2
