"""The part `judge`: stories graded by a stronger model, as the paper's GPT-Eval does.

    export OPENAI_API_KEY=...
    python -m tinyjax.bin.evaluate --parts=judge --checkpoint=runs/quickstart --out=evaluations/quickstart \
        --judge=gpt-4o --max_usd=5 --usd_per_million_in=2.5 --usd_per_million_out=10

or by a judge on this machine, with --base_url=http://127.0.0.1:8080/v1 and no key. Every reply is kept in
OUT/judgements.jsonl: an evaluation that was stopped, or has used up its budget, goes on from there.
"""

import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags
from etils import epath

from tinyjax.bin.evaluation.job import Job, NotGivenError
from tinyjax.bin.progress import show_count
from tinyjax.errors import UserError
from tinyjax.evaluate.judge.client import Budget, Endpoint
from tinyjax.evaluate.judge.grading import grade
from tinyjax.evaluate.judge.protocol import TEMPLATE, Exercise
from tinyjax.evaluate.judge.recorded import Recorded, judged, read_judgements
from tinyjax.evaluate.judge.summary import COVERAGE, Judged, agreement, summarise
from tinyjax.records import Record

_OPENAI = "https://api.openai.com/v1"
_SHOWN = 3  # of many problems

_JUDGE = flags.DEFINE_string("judge", "", "Model that grades, by its name at --base_url.")
_BASE_URL = flags.DEFINE_string("base_url", _OPENAI, "Address of the judge, OpenAI-compatible, to its /v1.")
_KEY_ENV = flags.DEFINE_string(
    "key_env", "OPENAI_API_KEY", "Environment variable with the judge's key; it is written nowhere."
)
_CONCURRENCY = flags.DEFINE_integer("concurrency", 8, "Stories that are graded at a time.", lower_bound=1)
_TEMPERATURE = flags.DEFINE_float("judge_temperature", 0.0, "The judge's.", lower_bound=0)
_MAX_TOKENS = flags.DEFINE_integer(
    "judge_max_tokens", 1024, "Longest reply; more for judges that think aloud.", lower_bound=1
)
_TIMEOUT = flags.DEFINE_float("judge_timeout", 120.0, "Seconds to wait for a reply.", lower_bound=0.1)
_MAX_CALLS = flags.DEFINE_integer(
    "max_calls",
    0,
    "Stop at so many requests, answered ones of earlier runs included; 0: any number.",
    lower_bound=0,
)
_MAX_USD = flags.DEFINE_float(
    "max_usd", 0.0, "Stop before so many dollars are spent, earlier runs included; 0: any sum.", lower_bound=0
)
_USD_IN = flags.DEFINE_float(
    "usd_per_million_in", 0.0, "Dollars for a million tokens that the judge reads.", lower_bound=0
)
_USD_OUT = flags.DEFINE_float(
    "usd_per_million_out", 0.0, "Dollars for a million tokens that the judge writes.", lower_bound=0
)
_JUDGEMENTS = flags.DEFINE_string(
    "judgements",
    "",
    "Recorded judgements; no judge is asked. A judgements.jsonl is searched for this model's stories; a .csv "
    "(id,story,assessment,grammar,creativity,consistency,score) is summed up with the stories in it.",
)
_SECOND = flags.DEFINE_string(
    "second_judgements",
    "",
    "Judgements of the same stories by another judge, .jsonl or .csv, to compare.",
)


def check(job: Job) -> None:
    """Raises NotGivenError where no judge and no judgements are named; UserError where it can't be asked."""
    del job
    if not _JUDGE.value and not _JUDGEMENTS.value:
        raise NotGivenError(
            "--judge is missing; name a model at --base_url, give recorded --judgements, or other --parts"
        )
    for path in filter(None, (_JUDGEMENTS.value, _SECOND.value)):
        if not epath.Path(path).exists():
            raise UserError(f"there are no judgements at '{path}': no such file; check the path")
    if not _JUDGEMENTS.value:
        _endpoint()
        _budget()


def run(job: Job) -> dict:
    """Returns grades, their means, and where asked for how far a second judge agrees."""
    graded = _recorded(job) if _JUDGEMENTS.value else _asked(job)
    result = summarise(graded.judge, graded.template, graded.stories)
    result |= {"stopped": graded.stopped, "unreadable": graded.unreadable}
    if _SECOND.value:
        result["agreement"] = _agreement(graded)
    _tell(result)
    return result


@dataclasses.dataclass(frozen=True)
class _Graded:
    """Judgements of the stories that are graded here, wherever they come from."""

    judge: str
    template: str
    stories: list[Judged]
    stopped: str = ""  # why the judge wasn't asked about all
    unreadable: list[str] = dataclasses.field(default_factory=list)  # rows of a file


def _asked(job: Job) -> _Graded:
    """Asks the judge about what hasn't been judged yet."""
    endpoint, budget = _endpoint(), _budget()
    records = job.completions
    exercises = [_exercise(record) for record in records]
    with show_count("stories graded", len(set(exercises))) as advance:
        graded = grade(
            exercises,
            endpoint,
            budget,
            job.out / "judgements.jsonl",
            concurrency=_CONCURRENCY.value,
            told=lambda: advance(f"{budget.calls:,} calls"),
        )
    stories = [
        judged(exercise, record["sample"], graded.replies.get(exercise, []))
        for exercise, record in zip(exercises, records, strict=True)
    ]
    return _Graded(endpoint.judge, TEMPLATE, stories, graded.stopped)


def _exercise(record: Record) -> Exercise:
    return Exercise(record["prompt"], record["story"].removeprefix(record["prompt"]))


def _endpoint() -> Endpoint:
    if not _BASE_URL.value.startswith(("http://", "https://")):
        raise UserError(
            f"--base_url={_BASE_URL.value} is no address; give one such as http://127.0.0.1:8080/v1"
        )
    key = os.environ.get(_KEY_ENV.value, "")
    if not key and _BASE_URL.value == _OPENAI:
        raise UserError(f"{_OPENAI} needs a key; put it into the environment variable {_KEY_ENV.value}")
    return Endpoint(
        judge=_JUDGE.value,
        base_url=_BASE_URL.value,
        key=key,
        temperature=_TEMPERATURE.value,
        max_tokens=_MAX_TOKENS.value,
        timeout=_TIMEOUT.value,
    )


def _budget() -> Budget:
    if _MAX_USD.value and not (_USD_IN.value or _USD_OUT.value):
        raise UserError("--max_usd needs prices; give --usd_per_million_in and --usd_per_million_out")
    return Budget(_MAX_CALLS.value, _MAX_USD.value, _USD_IN.value, _USD_OUT.value)


def _recorded(job: Job) -> _Graded:
    """Takes judgements from a file: those of this model's stories, or of a table's own."""
    found = read_judgements(_JUDGEMENTS.value, _JUDGE.value)
    stories = _of_table(found) if _JUDGEMENTS.value.endswith(".csv") else _of_model(job, found)
    return _Graded(found.judge, found.template, stories, unreadable=found.unreadable)


def _of_table(found: Recorded) -> list[Judged]:
    """Returns all rows; those that can't be read were to be graded too."""
    unreadable = [Judged("", 0, "", None, "the row can't be read") for _ in found.unreadable]
    return found.stories + unreadable


def _of_model(job: Job, found: Recorded) -> list[Judged]:
    by_story = {judgement.story: judgement for judgement in found.stories}
    none = Judged("", 0, "", None, "not in the file")
    names = ("prompt", "story", "sample")
    return [
        dataclasses.replace(by_story.get(record["story"], none), **{name: record[name] for name in names})
        for record in job.completions
    ]


def _agreement(graded: _Graded) -> dict[str, Any]:
    second = read_judgements(_SECOND.value, other_than=graded.judge)
    if second.unreadable:
        _say(f"{_SECOND.value}: {_some(second.unreadable)}")
    grades = {story.story.strip(): story.grades for story in second.stories if story.grades}
    return agreement(second.judge, graded.stories, grades)


def _tell(result: Mapping[str, Any]) -> None:
    """Says what came of it, on standard error."""
    if result["unreadable"]:
        _say(f"can't be read: {_some(result['unreadable'])}")
    if result["stopped"]:
        _say(f"stopped: {result['stopped']}; what was replied is kept, the same command goes on from there")
    _say(f"{result['graded']:,} of {result['asked']:,} stories graded by {result['judge']}{_means(result)}")


def _means(result: Mapping[str, Any]) -> str:
    if not result["means"]:
        return f"; no means below {COVERAGE:.0%}"
    means = {name: mean for name, mean in result["means"].items() if mean}
    return ": " + ", ".join(f"{name} {mean['value']:.2f}" for name, mean in means.items())


def _some(problems: Sequence[str]) -> str:
    more = f"; and {len(problems) - _SHOWN:,} more" if len(problems) > _SHOWN else ""
    return f"{len(problems):,} judgements, {'; '.join(problems[:_SHOWN])}{more}"


def _say(message: str) -> None:
    print(f"judge: {message}", file=sys.stderr)
