"""The report: a page and all numbers, of each evaluation at its end and of several side by side."""

import sys

from absl import flags
from etils import epath

from tinyjax.checkpoint.preflight import probe
from tinyjax.errors import UserError
from tinyjax.evaluate.report.writing import write_report

_REPORT = flags.DEFINE_string(
    "report", "", "Folder for a report of the finished evaluations in --of; nothing is evaluated."
)
_OF = flags.DEFINE_list(
    "of", [], "Evaluations to set side by side: what was given to --out, with commas; with --report."
)


def asked() -> bool:
    """Returns whether a report of finished evaluations is all that is wanted."""
    return bool(_REPORT.value or _OF.value)


def write_asked() -> None:
    """Writes the report that the flags ask for."""
    evaluating = [name for name in ("checkpoint", "out", "parts") if flags.FLAGS[name].present]
    if evaluating:
        raise UserError(f"--report evaluates nothing; leave out --{evaluating[0]}; give one of them")
    if not _REPORT.value:
        raise UserError("--report is missing; give a folder for the report, such as evaluations/report")
    if not _OF.value:
        raise UserError("--of is missing; give evaluations, such as --of=evaluations/a,evaluations/b")
    probe(_REPORT.value)
    print(f"report: {write_report(_OF.value, _REPORT.value)}")


def write_own(out: epath.Path) -> None:
    """Writes the report of an evaluation into its folder; a page that can't be made is no failure of it."""
    try:
        print(f"report: {write_report([out], out)}")
    except UserError as error:
        print(f"there is no report.html: {error}", file=sys.stderr)
