"""Judgements that were given before: our own file of them, or a table of stories and grades."""

import csv
import dataclasses
import io
import itertools
import json
import re
from collections.abc import Iterator, Sequence

from etils import epath

from tinyjax.errors import UserError
from tinyjax.evaluate.judge.grades import Grades, UnreadableError, read_age, read_value
from tinyjax.evaluate.judge.grading import replies_of
from tinyjax.evaluate.judge.protocol import Exercise, Reply, Verdict, next_step
from tinyjax.evaluate.judge.summary import Judged

_GRADES = ("grammar", "creativity", "consistency")  # of a table; the plot may stand beside them
_COLUMNS = ("id", "story", "assessment", *_GRADES, "score")
_ESCAPED = re.compile(r'\\(["\\])')
_ROW = re.compile(r"^(\d+),", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Recorded:
    """The judgements in a file."""

    judge: str
    template: str
    stories: list[Judged]  # without those that can't be read
    unreadable: list[str]  # where they stand, and why


def read_judgements(path: epath.PathLike, judge: str = "", other_than: str = "") -> Recorded:
    """Returns the judgements in a .jsonl as `evaluate` writes it, or in a .csv of stories with grades.

    Args:
      path: of the file, local or gs://.
      judge: whose judgements are meant, where the file has several judges'; of a .csv, its name.
      other_than: whose are not meant.

    Raises:
      UserError: there is none, or it isn't clear whose are meant.
    """
    path = epath.Path(path)
    text = _decode(path)
    if path.suffix == ".csv":
        found = _read_table(path, text, judge or path.stem)
    elif path.suffix == ".jsonl":
        found = _read_own(path, text, judge, other_than)
    else:
        raise UserError(f"'{path}' is neither .jsonl nor .csv; give judgements in one of these")
    if not found.stories:
        why = f": {found.unreadable[0]}" if found.unreadable else ""
        raise UserError(f"no judgement can be read from '{path}'{why}; mend the file or give another one")
    return found


def _decode(path: epath.Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"'{path}' is not UTF-8 ({error}); convert it") from None


def _read_own(path: epath.Path, text: str, judge: str, other_than: str) -> Recorded:
    stories: dict[tuple[str, str, str], dict[str, Judged]] = {}
    unreadable = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            record = json.loads(line)
            kind = (record["judge"], record["template"], record["options"])
            story = judged(Exercise(record["prompt"], record["completion"]), 0, replies_of(record))
        except (ValueError, KeyError, TypeError) as error:
            unreadable.append(f"line {number}: {type(error).__name__}, no judgement")
            continue
        if judge in ("", kind[0]) and (not other_than or kind[0] != other_than):
            stories.setdefault(kind, {})[story.story] = story  # the newest line about a story counts
    if len(stories) > 1:
        kinds = "; ".join(", ".join(kind) for kind in stories)
        raise UserError(f"'{path}' has several kinds of judgements ({kinds}); name one by --judge")
    kind, of_kind = next(iter(stories.items()), (("", "", ""), {}))
    return Recorded(kind[0], kind[1], list(of_kind.values()), unreadable)


def judged(exercise: Exercise, sample: int, replies: Sequence[Reply]) -> Judged:
    """Returns what replies about an exercise come to."""
    story, step = exercise.prompt + exercise.completion, next_step(exercise, replies)
    if not isinstance(step, Verdict):
        return Judged(exercise.prompt, sample, story, None, "not asked to the end")
    assessment = replies[0].text if replies else ""
    return Judged(exercise.prompt, sample, story, step.grades, step.problem, assessment)


def _read_table(path: epath.Path, text: str, judge: str) -> Recorded:
    head, _, body = text.partition("\n")
    columns = [name.strip() for name in head.split(",")]
    if missing := [name for name in _COLUMNS if name not in columns]:
        raise UserError(f"'{path}' has no column {', '.join(missing)}; give one with {','.join(_COLUMNS)}")
    stories, unreadable = [], []
    for line, row in _rows(body):
        try:
            stories.append(_table_story(columns, row))
        except UnreadableError as error:
            unreadable.append(f"row {row.split(',')[0][:20]} (line {line}): {error}")
    return Recorded(judge, f"table: {','.join(columns)}", stories, unreadable)


def _rows(body: str) -> Iterator[tuple[int, str]]:
    """Yields the rows of a table as they stand there, with the number of their first line.

    Each begins a line with its id. A parser that goes by quotes alone loses its way for the rest of the file
    at the first quote that isn't escaped.
    """
    starts = [found.start() for found in _ROW.finditer(body)]
    if body.strip() and (not starts or body[: starts[0]].strip()):
        starts.insert(0, 0)
    for start, end in itertools.pairwise([*starts, len(body)]):
        yield body.count("\n", 0, start) + 2, body[start:end]


def _table_story(columns: Sequence[str], row: str) -> Judged:
    """Returns a row's story with its grades; a backslash before n means a new line."""
    cells = dict(zip(columns, _cells(row, len(columns)), strict=True))
    if not cells["id"].isdecimal():
        raise UnreadableError("its id is no number")
    names = [*_GRADES, *(["plot"] if "plot" in cells else [])]
    values = {name: read_value(cells[name]) for name in names}
    story, assessment = (cells[name].replace("\\n", "\n") for name in ("story", "assessment"))
    return Judged("", int(cells["id"]), story, Grades(values, read_age(cells["score"])), "", assessment)


def _cells(row: str, count: int) -> list[str]:
    """Returns the cells of a row, whose quotes are escaped by backslashes or doubled."""
    doubled = _ESCAPED.sub(lambda found: '""' if found[1] == '"' else found[1], row)
    try:
        rows = [cells for cells in csv.reader(io.StringIO(doubled, ""), strict=True) if cells]
    except csv.Error as error:
        raise UnreadableError(f"a quote that isn't escaped ({error})") from None
    if len(rows) != 1 or len(rows[0]) != count:
        raise UnreadableError(f"{len(rows[0])} cells and not {count}; is a quote or comma not escaped?")
    return rows[0]
