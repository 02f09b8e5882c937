"""Looks whether a machine is fit for tinyjax, and says what to mend: a line for each thing it looks at.

    python -m tinyjax.bin.doctor
    python -m tinyjax.bin.doctor --bucket=gs://bucket/runs --port=8476 --coordinator=10.0.0.2:8476

On a TPU slice, start it on all machines at once: the chips of one wait for the others. Exit code 2: there is
a problem; warnings are none. A check that hangs is given up.
"""

import json
import os
import socket
from collections.abc import Sequence

from absl import flags
from etils import epath

from tinyjax.bin import app
from tinyjax.bin.checks import chips, machine, network, software
from tinyjax.bin.checks.finding import Check, Finding
from tinyjax.bin.checks.finding import run as run_checks
from tinyjax.errors import UserError
from tinyjax.recordio import is_local

_BUCKET = flags.DEFINE_string("bucket", "", "Bucket or folder on gs:// that will be written to.")
_PORT = flags.DEFINE_integer(
    "port", 8476, "Port that is to be free here, JAX's for the coordinator; 0: none.", 0, 65535
)
_COORDINATOR = flags.DEFINE_string("coordinator", "", "HOST:PORT that is to be reached from here.")
_RUN_DIR = flags.DEFINE_string("run_dir", ".", "Folder of runs, whose disk is looked at.")
_LOCK = flags.DEFINE_string("lock", "", "Lock that packages are compared with; default: the repository's.")
_LEAST_GB = flags.DEFINE_float(
    "least_gb", 2.0, "Free space, in GB, that a folder should have; a tenth of it is a must.", 0.0
)
_CHIP_SECONDS = flags.DEFINE_float("chip_seconds", 120.0, "How long JAX may take to start.", 1.0)
_JSON = flags.DEFINE_bool("json", False, "Print JSON instead of lines.")


def run(argv: Sequence[str]) -> int | None:
    """Prints what is found; returns 2 where there is a problem."""
    del argv
    found = []
    for finding in run_checks(_checks()):
        found.append(finding)
        if not _JSON.value:
            print(finding, flush=True)
    if _JSON.value:
        print(_as_json(found))
    return app.USER_ERROR if any(finding.level == "problem" for finding in found) else None


def _checks() -> list[Check]:
    """Returns what the flags ask for."""
    lock, chip_seconds = epath.Path(_LOCK.value or software.lock_file()), _CHIP_SECONDS.value
    checks = [
        Check("python", software.python),
        Check("versions", software.versions),
        Check("lock", lambda: software.lock(lock)),
        Check("chips", lambda: chips.chips(chip_seconds), chip_seconds + 20),
        Check("gpu", machine.gpu),
        Check("memory", machine.memory),
        Check("disk", lambda: machine.disk(_folders(), _LEAST_GB.value)),
        Check("files", machine.descriptors),
        Check("clock", lambda: network.clock(_bucket())),
    ]
    if _bucket():
        checks.append(Check("bucket", lambda: network.bucket(_bucket()), 90))
    if _PORT.value:
        checks.append(Check("port", lambda: network.port(_PORT.value)))
    if address := _address():
        checks.append(Check("coordinator", lambda: network.coordinator(address)))
    return checks


def _bucket() -> str:
    folder = _BUCKET.value
    if folder and not folder.startswith("gs://"):
        raise UserError(f"--bucket is '{folder}'; give a bucket or a folder in one, such as gs://bucket/runs")
    return folder


def _address() -> str:
    address = _COORDINATOR.value
    if address and not address.rpartition(":")[2].isdecimal():
        raise UserError(f"--coordinator is '{address}'; it must be HOST:PORT of process 0")
    return address


def _folders() -> list[tuple[str, epath.Path]]:
    """Returns the folders in which there should be room, and what they are."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    named = {"home": "~", "run folder": _RUN_DIR.value, "cache": cache}
    return [(name, epath.Path(path).expanduser()) for name, path in named.items() if is_local(path)]


def _as_json(found: Sequence[Finding]) -> str:
    lines = [vars(finding) for finding in found]
    return json.dumps({"host": socket.gethostname(), "found": lines}, indent=2, ensure_ascii=False)


def main() -> None:
    """Entry point of the console script."""
    app.run(run)


if __name__ == "__main__":
    main()
