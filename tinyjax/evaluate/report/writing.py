"""The files of a report."""

from collections.abc import Sequence

from etils import epath

from tinyjax.data.publish import write_file
from tinyjax.evaluate.report.page import render, render_json
from tinyjax.evaluate.report.reading import read_evaluations


def write_report(folders: Sequence[epath.PathLike], out: epath.PathLike) -> epath.Path:
    """Writes report.json and report.html about evaluations, and returns where the page is.

    Args:
      folders: that `tinyjax.bin.evaluate --out` filled, local or gs://; the page shows them in this order.
      out: folder of the report, local or gs://; it is made where it isn't there.

    Raises:
      UserError: a folder holds no evaluation, or jinja2 is missing; then report.json is written all the same.
    """
    evaluations = read_evaluations(folders)
    out = epath.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    write_file(out / "report.json", _encode(render_json(evaluations)))
    write_file(out / "report.html", _encode(render(evaluations)))
    return out / "report.html"


def _encode(text: str) -> bytes:
    """Returns UTF-8; halves of characters, which JSON may hold, as JSON escapes them."""
    return text.encode("utf-8", "backslashreplace")
