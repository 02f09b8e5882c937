"""Stories given to a judge, many at a time; every reply is in a file as soon as it is there.

A run that was stopped goes on where it was, within a story too: what was replied isn't asked again.
"""

import asyncio
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from etils import epath

from tinyjax.errors import UserError
from tinyjax.evaluate.judge.client import Budget, Client, Endpoint, NoAnswerError, StopAskingError
from tinyjax.evaluate.judge.protocol import TEMPLATE, Exercise, Reply, Turn, Verdict, next_step
from tinyjax.records import Record, Records, open_records

_GIVE_UP = 3  # stories in a row without an answer

_KEY = ("judge", "template", "options", "prompt", "completion")


@dataclasses.dataclass
class _Progress:
    """What the conversations tell each other."""

    stop: Exception | None = None  # why no more is asked
    unanswered: int = 0  # stories in a row
    missed: Exception | None = None  # why the newest of them wasn't


@dataclasses.dataclass(frozen=True)
class Graded:
    """What a judge said of each exercise that it was asked about."""

    replies: Mapping[Exercise, Sequence[Reply]]
    stopped: str  # why not all were answered; empty: they were


def grade(
    exercises: Sequence[Exercise],
    endpoint: Endpoint,
    budget: Budget,
    path: epath.PathLike,
    *,
    concurrency: int = 8,
    told: Callable[[], None] = lambda: None,
) -> Graded:
    """Asks a judge about each exercise, once for those that are alike.

    Args:
      exercises: to be graded.
      endpoint: of the judge.
      budget: for all calls, those of earlier runs whose replies the file has included.
      path: of the file of judgements, local or on gs://, of any number of judges.
      concurrency: exercises at a time.
      told: is called for each that is done, by an earlier run too.

    Raises:
      UserError: the endpoint doesn't know the judge, or can't be reached at all.
    """
    with open_records(path, "a judgement of a story", _KEY, {}) as records:
        book = _Book(records, endpoint)
        wanted = list(dict.fromkeys(exercises))
        for exercise in wanted:
            for reply in book.replies(exercise):
                budget.calls += 1
                budget.usd += budget.cost(reply.input_tokens, reply.output_tokens)
        left = [exercise for exercise in wanted if isinstance(book.step(exercise), Turn)]
        for _ in range(len(wanted) - len(left)):
            told()
        stop = asyncio.run(_ask_all(left, endpoint, budget, book, concurrency, told)) if left else None
        replies = {exercise: found for exercise in wanted if (found := book.replies(exercise))}
    if isinstance(stop, UserError):
        raise stop
    if stop and not replies:
        raise UserError(f"the judge '{endpoint.judge}' graded nothing: {stop}; mend it, and run this again")
    return Graded(replies, str(stop) if stop else "")


class _Book:
    """The file of judgements, as one judge sees it."""

    def __init__(self, records: Records, endpoint: Endpoint):
        self._records = records
        self._fields = {"judge": endpoint.judge, "template": TEMPLATE, "options": endpoint.options}

    def replies(self, exercise: Exercise) -> list[Reply]:
        record = self._records.get(*self._fields.values(), exercise.prompt, exercise.completion)
        return replies_of(record) if record else []

    def step(self, exercise: Exercise) -> Turn | Verdict:
        return next_step(exercise, self.replies(exercise))

    def add(self, exercise: Exercise, reply: Reply) -> None:
        """Writes down a reply; the newest line about an exercise has all of them."""
        replies = [*self.replies(exercise), reply]
        self._records.add(
            self._fields
            | dataclasses.asdict(exercise)
            | {"replies": [dataclasses.asdict(one) for one in replies]}
            | _outcome(next_step(exercise, replies))
        )


def replies_of(record: Record) -> list[Reply]:
    """Returns the replies in a line of the file; KeyError or TypeError where it is none."""
    return [Reply(**reply) for reply in record["replies"]]


def _outcome(step: Turn | Verdict) -> dict[str, Any]:
    """Returns what is written for people; the grades are read from the replies again where they are used."""
    if isinstance(step, Turn):
        return {"done": False}
    grades = step.grades
    return {
        "done": True,
        "grades": grades and grades.values,
        "age": grades and grades.age,
        "problem": step.problem,
    }


async def _ask_all(
    exercises: Sequence[Exercise],
    endpoint: Endpoint,
    budget: Budget,
    book: _Book,
    concurrency: int,
    told: Callable[[], None],
) -> Exception | None:
    """Asks about all, and returns why not all were answered."""
    client, progress, queue = Client(endpoint, budget), _Progress(), iter(exercises)
    try:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(concurrency, len(exercises))):
                tasks.create_task(_work(queue, client, book, progress, told))
    finally:
        await client.close()
    return progress.stop or progress.missed


async def _work(
    queue: Iterator[Exercise], client: Client, book: _Book, progress: _Progress, told: Callable[[], None]
) -> None:
    """Asks about one exercise after the other, until there are no more, or it is of no use.

    What stops one stops the others after the reply that they wait for, which may be paid for.
    """
    for exercise in queue:
        try:
            await _converse(exercise, client, book, progress)
            progress.unanswered = 0
        except NoAnswerError as error:
            progress.unanswered, progress.missed = progress.unanswered + 1, error
            if progress.unanswered >= _GIVE_UP:
                progress.stop = progress.stop or error
        except (StopAskingError, UserError) as error:
            progress.stop = progress.stop or error
        if progress.stop:
            return
        told()


async def _converse(exercise: Exercise, client: Client, book: _Book, progress: _Progress) -> None:
    """Asks about one exercise as often as the protocol wants."""
    while not progress.stop and isinstance(step := book.step(exercise), Turn):
        book.add(exercise, await client.ask(step))
