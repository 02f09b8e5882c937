"""The result of a part as short lines: figures with their intervals."""

from collections.abc import Iterator
from typing import Any

from tinyjax.evaluate.estimates import Estimate

_ROWS = 12  # of a list that is longer, such as all stories with their grades, only the length is told
_WIDTH = 80  # characters of a text


def summarise(result: dict[str, Any]) -> list[str]:
    """Returns a line for each figure of a result, which is as it stands in the file of the part."""
    return list(_lines(result, "  "))


def _lines(values: dict[str, Any], indent: str) -> Iterator[str]:
    width = max(map(len, values), default=0)
    for name, value in values.items():
        if isinstance(value, dict) and value and not _is_estimate(value):
            yield f"{indent}{name}"
            yield from _lines(value, f"{indent}  ")
        elif _is_table(value):
            yield f"{indent}{name}"
            yield from (f"{indent}  {_row(row)}" for row in value)
        elif value is not None:
            yield f"{indent}{name:<{width}}  {_text(value)}"


def _is_estimate(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == Estimate.__dataclass_fields__.keys()


def _is_table(value: Any) -> bool:
    """Tells a short list of rows of figures."""
    return isinstance(value, list) and 0 < len(value) <= _ROWS and all(isinstance(row, dict) for row in value)


def _row(row: dict[str, Any]) -> str:
    return ", ".join(f"{name} {_text(value)}" for name, value in row.items() if value is not None)


def _text(value: Any) -> str:
    if _is_estimate(value):
        return str(Estimate(**value))
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, list | dict):
        return f"{len(value):,} in the file"
    text = " ".join(str(value).split())
    return text if len(text) <= _WIDTH else f"{text[:_WIDTH]}..."
