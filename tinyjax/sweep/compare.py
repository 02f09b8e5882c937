"""The members of a sweep side by side: all that its figures and tables are made of."""

import dataclasses
import json
from collections.abc import Sequence

from tinyjax.sweep.results import Result, collect, common_step
from tinyjax.sweep.scaling import Best, PowerLaw, fit_power_law, frontier
from tinyjax.sweep.task import Task


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What a sweep has shown so far."""

    sweep: str
    data: str
    results: list[Result]
    missing: list[str]  # members of which there is nothing yet
    common_step: int | None  # the last at which all were evaluated
    best: list[Best]  # model for each budget
    loss_law: PowerLaw | None  # lowest bits/byte by FLOPs
    size_law: PowerLaw | None  # parameters of the best model by FLOPs

    def to_json(self) -> str:
        """Returns all of it."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False)


def compare(sweep: str, data: str, tasks: Sequence[Task]) -> Comparison:
    """Reads what there is of each member."""
    results = collect(tasks)
    best = frontier(results)
    flops = [one.flops for one in best]
    there = {result.name for result in results}
    return Comparison(
        sweep=sweep,
        data=data,
        results=results,
        missing=[task.name for task in tasks if task.name not in there],
        common_step=common_step(results),
        best=best,
        loss_law=fit_power_law(flops, [one.bits_per_byte for one in best]),
        size_law=fit_power_law(flops, [one.parameters for one in best]),
    )
