"""Folders of evaluations, as `tinyjax.bin.evaluate` writes them, read and checked."""

import collections
import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from etils import epath

from tinyjax.errors import UserError
from tinyjax.evaluate.report.shapes import SHAPES, check
from tinyjax.records import Record

PARTS = ("loss", "judge", "probes", "novelty", "quality")


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What was measured of one checkpoint; a part that wasn't evaluated is not there."""

    name: str  # differs from those of the others in the report
    about: dict[str, Any]  # evaluation.json
    parts: dict[str, dict[str, Any]]
    stories: tuple[Record, ...]  # as `tinyjax.sample.story_file` writes them

    @property
    def run(self) -> str:
        """The run that the checkpoint is a step of."""
        path = self.about["checkpoint"].rstrip("/")
        return path.removesuffix(f"/{self.about['step']}").removesuffix("/checkpoints")


def read_evaluations(folders: Sequence[epath.PathLike]) -> list[Evaluation]:
    """Returns the evaluations in folders, local or gs://, in the order given.

    Raises:
      UserError: there is none, one stands twice, or a file isn't what evaluate writes.
    """
    paths = [epath.Path(folder) for folder in folders]
    for path, times in collections.Counter(paths).items():
        if times > 1:
            raise UserError(f"'{path}' is given twice; give each evaluation once")
    if not paths:
        raise UserError("there is no evaluation to report on; give the folders that evaluate --out wrote")
    return _with_own_names([_read(path) for path in paths], paths)


def _read(path: epath.Path) -> Evaluation:
    if not (path / "evaluation.json").exists():
        raise UserError(
            f"'{path}' holds no evaluation (evaluation.json); give the folder that evaluate --out wrote"
        )
    about = _read_json(path / "evaluation.json")
    parts = {name: _read_json(path / f"{name}.json") for name in PARTS if (path / f"{name}.json").exists()}
    return Evaluation(about["name"], about, parts, tuple(_read_stories(path / "stories.jsonl")))


def _read_json(path: epath.Path) -> dict[str, Any]:
    value = _parse(path.read_bytes(), f"'{path}'")
    check(value, SHAPES[path.stem], f"'{path}': {path.stem}")
    return value


def _read_stories(path: epath.Path) -> list[Record]:
    """Returns the stories of a file, the later one where one stands twice; a line cut off is left out."""
    stories = {}
    if path.exists():
        for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1):
            story = _parse(line, f"line {number} of '{path}'")
            check(story, SHAPES["story"], f"'{path}': line {number}")
            stories[story["prompt"], story["sample"]] = story
    return list(stories.values())


def _parse(data: bytes, where: str) -> Any:
    try:
        return json.loads(data, parse_constant=lambda _: None)  # NaN: there is no such number
    except ValueError as error:
        raise UserError(f"{where} is not JSON ({error}); evaluate that part again") from None


def _with_own_names(evaluations: list[Evaluation], paths: list[epath.Path]) -> list[Evaluation]:
    """Tells evaluations of one name apart: by their steps or, where those are equal, by their folders."""
    by_step = [_named(e, f"{e.name}, step {e.about['step']:,}") for e in evaluations]
    by_folder = [_named(e, f"{e.name}, {path}") for e, path in zip(evaluations, paths, strict=True)]
    return _where_equal(_where_equal(evaluations, by_step), by_folder)


def _named(evaluation: Evaluation, name: str) -> Evaluation:
    return dataclasses.replace(evaluation, name=name)


def _where_equal(evaluations: list[Evaluation], others: list[Evaluation]) -> list[Evaluation]:
    times = collections.Counter(evaluation.name for evaluation in evaluations)
    pairs = zip(evaluations, others, strict=True)
    return [other if times[evaluation.name] > 1 else evaluation for evaluation, other in pairs]


def as_json(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """Returns every number that was measured, as plain JSON; of stories all but their texts."""
    return {
        "evaluations": [
            evaluation.about
            | {"name": evaluation.name}
            | evaluation.parts
            | {"stories": [_without_text(story) for story in evaluation.stories]}
            for evaluation in evaluations
        ]
    }


def _without_text(story: Record) -> Record:
    return {name: value for name, value in story.items() if name not in ("story", "options")}
