"""What a run's metrics.jsonl says of its losses."""

import json
from typing import Any

from etils import epath

from tinyjax.train.report import METRICS

Line = dict[str, Any]


def read_evaluations(folder: epath.Path) -> list[tuple[int, Line]]:
    """Returns each evaluation over the validation split by its step, in order; the last one of a step."""
    return _by_step(folder, "validation/bits_per_byte")


def read_training(folder: epath.Path) -> list[tuple[int, Line]]:
    """Returns the lines of the training loss by their step, in order."""
    return _by_step(folder, "bits_per_byte")


def _by_step(folder: epath.Path, field: str) -> list[tuple[int, Line]]:
    file = folder / METRICS
    lines = map(_parse, file.read_text().splitlines()) if file.exists() else ()
    return sorted({line["step"]: line for line in lines if line.get(field) is not None}.items())


def _parse(text: str) -> Line:
    """Returns what a line holds, {} where a kill cut it off."""
    try:
        line = json.loads(text)
    except ValueError:
        return {}
    return line if isinstance(line, dict) and "step" in line else {}
