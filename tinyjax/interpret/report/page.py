"""The findings as one HTML page that needs nothing else and may load nothing else."""

import json
import pathlib
from collections.abc import Sequence
from typing import Any

from tinyjax.evaluate.report.page import make_environment, policy_hash
from tinyjax.interpret.report import figures
from tinyjax.interpret.report.packing import is_telling, pack

_FOLDER = pathlib.Path(__file__).parent
_SHARED = _FOLDER.parent.parent / "evaluate" / "report"


def render(findings: dict[str, Any], others: Sequence[dict[str, Any]] = ()) -> str:
    """Returns the page, the same for the same findings; UserError without jinja2.

    Args:
      findings: from `gather`, or report.json.
      others: of models to compare with.
    """
    environment = make_environment("interpret/report", "evaluate/report")
    models = [findings, *others]
    files = {
        "shared_css": (_SHARED / "report.css").read_text(encoding="utf-8"),
        "css": (_FOLDER / "report.css").read_text(encoding="utf-8"),
        "js": (_FOLDER / "report.js").read_text(encoding="utf-8"),
    }
    return (
        environment.get_template("report.html.jinja")
        .render(
            files
            | {f"{name}_hash": policy_hash(text) for name, text in files.items()}
            | {
                "of": findings,
                "models": [(name, one) for name, one in zip(_names(models), models, strict=True)],
                "figures": figures,
                "selectivities": [_selectivities(one) for one in models],
                "data": _data(pack(findings)),
            }
        )
        .lstrip()
    )


def _names(models: Sequence[dict[str, Any]]) -> list[str]:
    """Returns the models' names, numbered where two have the same."""
    names = [one["about"]["name"] for one in models]
    return [name if names.count(name) == 1 else f"{name} ({i + 1})" for i, name in enumerate(names)]


def _selectivities(findings: dict[str, Any]) -> list[float]:
    return [
        neuron["role"]["selectivity"]
        for layer in findings["units"]["neurons"]["layers"]
        for neuron in layer["neurons"]
        if is_telling(neuron, layer["kept"])
    ]


def _data(value: Any) -> str:
    """Returns JSON in which no tag can begin or end."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
