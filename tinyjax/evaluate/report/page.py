"""The report as one HTML page that needs nothing else and may load nothing else."""

import base64
import hashlib
import json
import pathlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from tinyjax.data.audit import percent
from tinyjax.errors import UserError
from tinyjax.evaluate.report import charts, figures, measures, stories
from tinyjax.evaluate.report.reading import Evaluation, as_json

_NEAREST = 3  # stories of each model that are shown beside the nearest training story


def render(evaluations: Sequence[Evaluation]) -> str:
    """Returns the page, the same for the same evaluations; UserError without jinja2."""
    environment = make_environment("evaluate/report")
    folder = pathlib.Path(__file__).parent
    files = {kind: (folder / f"report.{kind}").read_text(encoding="utf-8") for kind in ("css", "js")}
    hashes = {f"{kind}_hash": policy_hash(text) for kind, text in files.items()}
    template = environment.get_template("report.html.jinja")
    return template.render(_content(evaluations) | files | hashes).lstrip()  # blanks between macros


def make_environment(*folders: str) -> Any:
    """Returns what renders the templates in folders of the package; UserError without jinja2."""
    try:
        import jinja2
    except ImportError:
        raise UserError("the report's page needs jinja2; run pip install 'tinyjax[audit]'") from None
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader("tinyjax", folder) for folder in folders]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=_printable,
    )
    environment.filters |= {"percent": percent, "short": charts.short, "clipped": clipped}
    return environment


def render_json(evaluations: Sequence[Evaluation]) -> str:
    """Returns every number of the page and those behind it."""
    return json.dumps(as_json(evaluations), indent=1, ensure_ascii=False)


def _content(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    openings = stories.openings(evaluations)
    told = {story.style for opening in openings for _, row in opening.rows for story in row}
    return {
        "evaluations": evaluations,
        "figures": figures,
        "known": measures,
        "measures": measures.measures(evaluations),
        "marks": [charts.Series(e.name, style, ()) for style, e in enumerate(evaluations)],
        "openings": openings,
        "untold": [style for style in range(len(evaluations)) if style not in told],
        "probes": stories.probes(evaluations),
        "reference": _reference(evaluations),
        "flat": stories.flat,
        "nearest": _nearest,
        "around": around,
    }


def _reference(evaluations: Sequence[Evaluation]) -> list[dict[str, Any]]:
    """Returns the paper's rows, each once."""
    rows = [row for _, _, rows in measures.having(evaluations, "judge", "reference") for row in rows]
    return list({json.dumps(row, sort_keys=True): row for row in rows}.values())


def _nearest(novelty: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the stories that are most like one of training."""
    return sorted(novelty.get("nearest") or [], key=lambda one: -one["precision"])[:_NEAREST]


def around(text: str, part: str) -> tuple[str, str, str]:
    """Returns a text before, at and after the words of a part, whatever is between them."""
    words = r"\W+".join(re.findall(r"\w+", part))
    found = re.search(rf"\b{words}\b", text, re.IGNORECASE) if words else None
    return (text[: found.start()], found[0], text[found.end() :]) if found else (text, "", "")


def clipped(text: str, letters: int) -> str:
    """Returns a text of at most so many letters, that it goes on shown by an ellipsis."""
    return text if len(text) <= letters else f"{text[: letters - 1].rstrip()}…"


def policy_hash(text: str) -> str:
    """Returns what the page's policy calls a style or script by."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _printable(value: Any) -> Any:
    """Shows control and format characters of what goes into the page as their code."""
    if not isinstance(value, str) or value.replace("\n", "").isprintable():
        return value
    shown = (c if c == "\n" or unicodedata.category(c)[0] != "C" else f"⟨{ord(c):04X}⟩" for c in value)
    return type(value)("".join(shown))  # markup stays markup
