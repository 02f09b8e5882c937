"""Which processes hold a device or a port, as far as Linux tells this account."""

import dataclasses
import glob
import os
import re
from collections.abc import Sequence

from etils import epath

_LISTENING = "0A"  # in /proc/net/tcp


@dataclasses.dataclass(frozen=True)
class Process:
    """A process that holds something."""

    pid: int
    command: str

    def __str__(self) -> str:
        """Returns its number and what it runs."""
        return f"process {self.pid}, {self.command}"


def holding(pattern: str) -> Sequence[Process]:
    """Returns the other processes that have open what matches, such as `/dev/accel.*`."""
    found = re.compile(pattern)
    pids = {
        int(link.split("/")[2]) for link in glob.glob("/proc/[0-9]*/fd/*") if found.fullmatch(_target(link))
    }
    return [Process(pid, _command(pid)) for pid in sorted(pids - {os.getpid()})]


def holding_port(number: int) -> Sequence[Process]:
    """Returns the processes that listen at a TCP port."""
    lines = [
        line.split()
        for file in map(epath.Path, ("/proc/net/tcp", "/proc/net/tcp6"))
        if file.exists()
        for line in file.read_text().splitlines()[1:]
    ]
    inodes = [
        fields[9]
        for fields in lines
        if fields[3] == _LISTENING and int(fields[1].split(":")[1], 16) == number
    ]
    return holding(rf"socket:\[({'|'.join(inodes)})\]") if inodes else []


def _target(link: str) -> str:
    try:
        return os.readlink(link)
    except OSError:  # of another account, or gone
        return ""


def _command(pid: int) -> str:
    try:
        return epath.Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()[:80]
    except OSError:
        return "gone meanwhile"
