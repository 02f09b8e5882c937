"""What came of the members of a sweep: sizes, FLOPs, losses on the way, scores where they were evaluated."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from etils import epath

from tinyjax.errors import UserError
from tinyjax.evaluate.estimates import Estimate
from tinyjax.model.parameters import count
from tinyjax.sweep.budget import flops_per_step
from tinyjax.sweep.metrics import read_evaluations, read_training
from tinyjax.sweep.task import EVALUATION, Task


@dataclasses.dataclass(frozen=True)
class Point:
    """Loss over the validation split at a step."""

    step: int
    flops: float  # model FLOPs of all steps up to here
    bits_per_byte: float
    standard_error: float
    nats_per_token: float


@dataclasses.dataclass(frozen=True)
class Result:
    """What there is of a member; its last point is the end only where it is finished."""

    name: str
    width: int
    blocks: int
    heads: int
    parameters: dict[str, int]  # body, embedding, total
    steady: bool  # a constant learning rate: each point is the end of a shorter run
    num_steps: int  # of the whole run
    points: tuple[Point, ...]  # by step, at least one
    training: tuple[tuple[int, float], ...]  # step, bits/byte of the training loss
    scores: dict[int, dict[str, Estimate]]  # step -> grades and shares of right answers

    @property
    def last(self) -> Point:
        """The newest."""
        return self.points[-1]

    @property
    def finished(self) -> bool:
        """Whether it came to its end."""
        return self.last.step == self.num_steps

    @property
    def last_scores(self) -> dict[str, Estimate]:
        """Those of the newest step that was evaluated."""
        return self.scores[max(self.scores)] if self.scores else {}

    def at(self, step: int) -> Point | None:
        """Returns the point of a step, None where it was not evaluated."""
        return next((point for point in self.points if point.step == step), None)


def collect(tasks: Sequence[Task]) -> list[Result]:
    """Returns what there is of each member; those without an evaluation are left out."""
    return [_collect(task) for task in tasks if read_evaluations(task.folder)]


def _collect(task: Task) -> Result:
    model, per_step = task.config.model, flops_per_step(task.config)
    points = [
        Point(step, step * per_step, *(line[f"validation/{field}"] for field in _FIELDS))
        for step, line in read_evaluations(task.folder)
    ]
    return Result(
        name=task.name,
        width=model.d_model,
        blocks=model.num_layers,
        heads=model.num_heads,
        parameters=count(model),
        steady=task.config.optimizer.schedule == "constant",
        num_steps=task.num_steps,
        points=tuple(points),
        training=tuple((step, line["bits_per_byte"]) for step, line in read_training(task.folder)),
        scores=_read_scores(task.folder / EVALUATION),
    )


_FIELDS = ("bits_per_byte", "standard_error", "nats_per_token")


def common_step(results: Sequence[Result]) -> int | None:
    """Returns the last step at which all were evaluated, None where there is none."""
    steps = [{point.step for point in result.points} for result in results]
    return max(set.intersection(*steps), default=None) if steps else None


def _read_scores(folder: epath.Path) -> dict[int, dict[str, Estimate]]:
    """Returns what a judge and the probes said, by the step that was evaluated."""
    found = sorted(folder.iterdir()) if folder.exists() else []
    scores = {int(path.name): _grades(path) | _accuracies(path) for path in found if path.name.isdecimal()}
    return {step: named for step, named in sorted(scores.items()) if named}


def _grades(folder: epath.Path) -> dict[str, Estimate]:
    """Returns the judge's mean grades; none where too few stories were graded."""
    means = _read(folder / "judge.json").get("means") or {}
    return {name: Estimate(**values) for name, values in means.items()}


def _accuracies(folder: epath.Path) -> dict[str, Estimate]:
    groups = _read(folder / "probes.json").get("groups") or {}
    return {name: Estimate(**group["accuracy"]) for name, group in groups.items()}


def _read(file: epath.Path) -> dict[str, Any]:
    try:
        return json.loads(file.read_text()) if file.exists() else {}
    except ValueError:
        raise UserError(f"'{file}' is damaged: it is not JSON; remove it, and evaluate again") from None
