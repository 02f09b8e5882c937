"""The files of a report, and those of others to compare with."""

import json
from collections.abc import Sequence
from typing import Any

from etils import epath

from tinyjax.data.publish import write_file
from tinyjax.errors import UserError
from tinyjax.evaluate.report.shapes import check
from tinyjax.interpret.report.page import render

_NUMBER, _TEXT = "a number", "a text"
# What is compared; more keys than these are there. A key that ends in "?" may be absent or null.
_SHAPE = {
    "about": {"name": _TEXT, "parameters": _NUMBER},
    "corpus": {"fingerprint": _TEXT, "tokens": _NUMBER},
    "heads": [{"kind": _TEXT}],
    "units": {
        "neurons": {
            "layers": [{"kept": _NUMBER, "neurons": [{"top": [None], "role?": {"selectivity": _NUMBER}}]}],
            "summary": dict.fromkeys(
                ("neurons", "dead", "in_duplicates", "rare", "selectivity", "chance", "clear"), _NUMBER
            )
            | {"clear_roles": dict.fromkeys(("word", "word class", "place", "introduction"), _NUMBER)},
        }
    },
}


def read_report(path: epath.PathLike) -> dict[str, Any]:
    """Reads a report.json that `write_report` wrote.

    Raises:
      UserError: it isn't there, or is something else.
    """
    path = epath.Path(path)
    path = path / "report.json" if path.is_dir() else path
    try:
        found = json.loads(path.read_bytes())
    except OSError:
        raise UserError(f"there is no report '{path}'; give the report.json of an interpret --out") from None
    except ValueError as error:
        raise UserError(f"'{path}' is not JSON ({error}); make that report again") from None
    check(found, _SHAPE, f"'{path}': report")
    return found


def write_report(
    findings: dict[str, Any], out: epath.PathLike, others: Sequence[dict[str, Any]] = ()
) -> epath.Path:
    """Writes report.json and report.html, and returns where the page is.

    Args:
      findings: from `gather`.
      out: folder, local or gs://; it is made where it isn't there.
      others: findings of models to compare with, from `read_report`.

    Raises:
      UserError: jinja2 is missing; then report.json is written all the same.
    """
    out = epath.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(findings, ensure_ascii=False, allow_nan=False)
    write_file(out / "report.json", text.encode("utf-8", "backslashreplace"))
    write_file(out / "report.html", render(findings, others).encode("utf-8", "backslashreplace"))
    return out / "report.html"
