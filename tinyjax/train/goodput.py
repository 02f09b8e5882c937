"""Goodput: the share of a run's wall time, over all its starts, that went into the steps it stands at.

What is not: starting, compiling, restoring, evaluating, waiting for a checkpoint, and steps that were made in
vain, as no checkpoint held them when the run was killed. The time between two starts isn't counted. The books
are kept in the lines of metrics.jsonl.
"""

import time
from collections.abc import Iterable
from typing import Any


class Goodput:
    """How the wall time of a run was spent."""

    def __init__(self, useful_seconds: float, wall_seconds: float, began: float):
        """Goes on from what earlier starts spent; `began` is when this one did, by `time.monotonic`."""
        self._useful = useful_seconds
        self._start = began - wall_seconds

    def add(self, seconds: float) -> None:
        """Counts seconds of steps."""
        self._useful += seconds

    def metrics(self) -> dict[str, float]:
        """Returns the share so far, and the wall time that it is of."""
        wall = time.monotonic() - self._start
        return {"goodput": self._useful / wall, "wall_seconds": wall}

    def describe(self) -> str:
        """Says the same in words."""
        found = self.metrics()
        return f"goodput: {found['goodput']:.1%} of {found['wall_seconds'] / 60:.1f} minutes went into steps"


def read_goodput(lines: Iterable[dict[str, Any]], step: int, began: float) -> Goodput:
    """Returns the books of a run that is taken up at `step`: the time of lines after it was spent in vain."""
    told = [line for line in lines if "goodput" in line]
    wall = max((line["wall_seconds"] for line in told), default=0.0)
    useful = [line["goodput"] * line["wall_seconds"] for line in told if line["step"] <= step]
    return Goodput(useful[-1] if useful else 0.0, wall, began)
