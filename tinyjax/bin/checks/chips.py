"""Does JAX see the chips of this machine, and do they compute?"""

import contextlib
import dataclasses
import glob
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence

import requests

from tinyjax.bin.checks import software
from tinyjax.bin.checks.finding import Finding
from tinyjax.bin.checks.processes import Process, holding
from tinyjax.parallel.maintenance import metadata_server

COMMAND = (sys.executable, "-m", "tinyjax.bin.checks.devices")
LOCK_FILE = "/tmp/libtpu_lockfile"  # by which libtpu keeps the chips to one process; it may outlive that
_DEVICES = ("/dev/accel*", "/dev/vfio/[0-9]*")
_HELD = r"/dev/(accel|vfio/)\d+"
_IN_USE = re.compile(r"in use by process with pid (\d+)")
_ANSWER_SECONDS = 5


@dataclasses.dataclass(frozen=True)
class Seen:
    """What JAX sees."""

    platform: str = ""  # "": it doesn't start
    kind: str = ""
    local: int = 0  # devices of this process
    total: int = 0  # of all processes
    processes: int = 0
    wrong: Sequence[str] = ()  # devices that compute a product wrongly
    said: str = ""  # on standard error


@dataclasses.dataclass(frozen=True)
class Machine:
    """What the machine has, whatever JAX sees."""

    tpu: str = ""  # what tells of a TPU
    gpu: bool = False
    holders: Sequence[Process] = ()  # of the TPU's chips
    lock_file: str = ""


def chips(seconds: float, command: Sequence[str] = COMMAND) -> Sequence[Finding]:
    """Starts JAX in a process of its own, for so long at most, and looks at what it sees."""
    machine = look()
    try:
        return judge(start(command, seconds), machine)
    except subprocess.TimeoutExpired:
        told = f"JAX doesn't start within {seconds:g} s{_tell(machine.holders)}"
        mend = _end(machine.holders) or "on a slice, start doctor on all machines at once"
        return [Finding("chips", "problem", told, mend)]


def start(command: Sequence[str], seconds: float) -> Seen:
    """Returns what JAX sees; TimeoutExpired where it takes longer."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL)
    if done.returncode:
        return Seen(said=done.stderr.strip() or f"exit code {done.returncode}")
    return Seen(**json.loads(done.stdout.splitlines()[-1]), said=done.stderr.strip())


def look() -> Machine:
    """Returns what the machine has."""
    lock_file = LOCK_FILE if os.path.exists(LOCK_FILE) else ""
    gpu = shutil.which("nvidia-smi") is not None
    return Machine(_tpu(), gpu, holding(_HELD), lock_file)


def _tpu() -> str:
    """Returns what tells that there is a TPU: its devices, or the metadata server; "" where nothing does."""
    if files := [file for pattern in _DEVICES for file in glob.glob(pattern)]:
        return ", ".join(sorted(files))
    return f"the metadata server says {kind}" if (kind := _accelerator_type()) else ""


def _accelerator_type() -> str:
    """Returns what the metadata server says of the TPU, as in v5litepod-16; "" of other machines."""
    if not (server := metadata_server()):
        return ""
    url = f"http://{server}/computeMetadata/v1/instance/attributes/accelerator-type"
    with requests.Session() as session, contextlib.suppress(requests.RequestException):
        session.trust_env = False  # no proxy stands before this server
        answer = session.get(url, headers={"Metadata-Flavor": "Google"}, timeout=_ANSWER_SECONDS)
        return answer.text.strip() if answer.ok else ""
    return ""  # the clock's check tells of it


def judge(seen: Seen, machine: Machine) -> Sequence[Finding]:
    """Says whether what JAX sees is what the machine has, and whether it computes."""
    missing = f"a TPU ({machine.tpu})" if machine.tpu else "a GPU" if machine.gpu else ""
    if seen.platform and not (seen.platform == "cpu" and missing):
        told = (
            f"{seen.platform}, {seen.kind}: {seen.local} here, {seen.total} in all, "
            f"{seen.processes} process{'es' if seen.processes > 1 else ''}"
        )
        return [Finding("chips", "ok", told), _product(seen)]
    told = f"JAX sees only the CPU, and there is {missing}" if seen.platform else "JAX doesn't start"
    said = f" ({last})" if (last := "".join(seen.said.splitlines()[-1:])[:300]) else ""
    holders = _holders(seen, machine)
    return [Finding("chips", "problem", f"{told}{said}{_tell(holders)}", _mend(holders, machine))]


def _product(seen: Seen) -> Finding:
    if not seen.wrong:
        return Finding("matmul", "ok", f"right on {seen.local} device{'s' if seen.local > 1 else ''}")
    told = f"wrong on {', '.join(seen.wrong)}"
    return Finding("matmul", "problem", told, "don't train there: ask for another machine")


def _holders(seen: Seen, machine: Machine) -> Sequence[Process]:
    """Returns who holds the chips: as the system knows, or as libtpu says."""
    told = _IN_USE.search(seen.said)
    return machine.holders or ([Process(int(told[1]), "says libtpu")] if told else [])


def _tell(holders: Sequence[Process]) -> str:
    return "".join(f"; {holder}, holds the chips" for holder in holders)


def _end(holders: Sequence[Process]) -> str:
    return f"end it: kill {' '.join(str(holder.pid) for holder in holders)}" if holders else ""


def _mend(holders: Sequence[Process], machine: Machine) -> str:
    """Says what to do where the chips aren't seen."""
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        return "unset JAX_PLATFORMS, which is 'cpu'"
    if holders:
        return _end(holders)
    if machine.tpu and not software.version("libtpu"):
        return "pip install 'tinyjax[tpu]'"
    if machine.lock_file:
        return f"remove {machine.lock_file}, which a process that died may have left"
    return (
        "start the machine again" if machine.tpu else "pip install 'tinyjax[cuda]', or run ./tools/setup run"
    )
