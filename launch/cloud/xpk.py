"""Commands of XPK, for TPU slices on Google Kubernetes Engine."""

import re
import shlex
from collections.abc import Sequence

from launch.cloud.binaries import ROOT, command
from tinyjax.errors import UserError

_AFTER = """\
# How it goes, what it says, and its end:
#   xpk workload list {where}
#   kubectl logs --follow --prefix --max-log-requests=100 --selector=xpk.google.com/workload={workload}
#   xpk workload delete {where} --workload={workload}
"""


def render(
    words: Sequence[str],
    *,
    cluster: str,
    workload: str,
    tpu_type: str,
    num_slices: int,
    image: str,
    base_image: str,
    max_restarts: int,
    project: str,
    zone: str,
    env: Sequence[str],
) -> str:
    """Returns the command that creates the workload, and below it, as comments, those that look after it.

    42 restarts by XPK's own choice, as do 127 to 255, and 43 by ours; any other code ends the workload.

    Raises:
      UserError: this can't be run so.
    """
    _check(words, workload, image, base_image)
    place = {"cluster": cluster, "project": project, "zone": zone}
    where = [f"--{name}={value}" for name, value in place.items() if value]
    # With exec the program has the process to which XPK's script passes SIGTERM on.
    program = "exec " + shlex.join(command(words, "python"))
    options = {
        "workload": workload,
        "tpu-type": tpu_type,
        "num-slices": num_slices,
        **({"docker-image": image} if image else {"base-docker-image": base_image, "script-dir": ROOT}),
        "max-restarts": max_restarts,
        "restart-on-exit-codes": 43,
        "termination-grace-period-seconds": 120,
        "command": program,
    }
    flags = [*where, *(f"--{name}={value}" for name, value in options.items())]
    lines = ["xpk workload create", *map(shlex.quote, flags), *_variables(env)]
    return " \\\n  ".join(lines) + "\n" + _AFTER.format(where=shlex.join(where), workload=workload)


def _check(words: Sequence[str], workload: str, image: str, base_image: str) -> None:
    if bool(image) == bool(base_image):
        raise UserError("give either --image, or --base_image to have the code that lies here put on it")
    if not re.fullmatch(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", workload):
        raise UserError(
            f"--workload={workload}: at most 40 lower-case letters, digits and hyphens, with a letter first"
        )
    if "\n" in "".join(words):
        raise UserError("a flag has several lines, which XPK's manifest can't hold; put them into a file")


def _variables(names: Sequence[str]) -> list[str]:
    """Passes variables by name; XPK reads their values when it is called."""
    return [f"--env-file=<(printf '%s\\n' {shlex.join(names)})"] if names else []
