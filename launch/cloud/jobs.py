"""What became of a job on its workers, and what to do about it."""

import dataclasses
import enum
import re
import time
from collections.abc import Sequence

from launch.cloud.slices import Worker

DONE, USER_ERROR, SAVED, OTHER_GONE, TERMINATED = 0, 2, 42, 43, 143
# By tinyjax/bin/app.py and parallel/distributed.py; 128 + N are deaths by signal N.
_MEANINGS = {
    DONE: "done",
    1: "it failed",
    USER_ERROR: "something for you to mend, see its log",
    SAVED: "stopped with everything saved",
    OTHER_GONE: "another process of the run was gone",
    126: "its program can't be run",
    127: "its program isn't there",
    130: "interrupted",
    134: "aborted, see its log",
    137: "killed, mostly for want of memory",
    139: "crashed, see its log",
    TERMINATED: "ended by SIGTERM",
}


@dataclasses.dataclass(frozen=True)
class Report:
    """What a worker says of its job."""

    worker: Worker
    what: str  # bare, idle, running, ended, lost; unreachable where it didn't answer
    started: int = 0  # seconds since 1970
    ended: int = 0
    code: int | None = None
    token: str = ""
    source: str = ""
    last_line: str = ""

    def __str__(self) -> str:
        """Returns it for people."""
        return {
            "bare": "not set up; run 'setup'",
            "idle": "set up, nothing has run yet",
            "running": f"running since {clock(self.started)}",
            "ended": f"exit code {self.code} at {clock(self.ended)}: {meaning(self.code or 0)}",
            "lost": f"its job, started at {clock(self.started)}, is gone without an exit code: the VM was "
            "restarted, or all was killed",
        }.get(self.what, "doesn't answer")


def clock(seconds: int) -> str:
    """Returns a time of the day here."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def meaning(code: int) -> str:
    """Returns what an exit code means."""
    return _MEANINGS.get(code, f"killed by signal {code - 128}" if code > 128 else "it failed")


_LINE = re.compile(
    r"^tinyjax-worker (\w+) started=(\d+) ended=(\d+) exit=(\d*) token=(\S*) source=(\S*)\n?(.*)",
    re.MULTILINE,
)


def parse(worker: Worker, text: str) -> Report:
    """Reads what `worker.sh state` prints."""
    found = _LINE.search(text)
    if not found:
        return Report(worker, "unreachable", last_line=text.strip())
    what, started, ended, code, token, source, line = found.groups()
    return Report(worker, what, int(started), int(ended), int(code) if code else None, token, source, line)


class Verdict(enum.Enum):
    """What a look at all workers amounts to, where the machines are there."""

    RUNNING = "it runs"
    UNSURE = "some have ended, some haven't: look again"
    DONE = "all are done"
    FAILED = "the program failed"
    STOPPED = "it was stopped, with everything saved"
    BROKEN = "processes are gone without one of them having failed"
    UNREACHABLE = "some workers don't answer"


def judge(reports: Sequence[Report]) -> tuple[Verdict, Report]:
    """Returns what the workers' reports amount to, and the one that decides it.

    An exit code 43 only says that another process was gone: whatever that one says counts more.
    """
    failed = [r for r in reports if r.what == "ended" and r.code not in (DONE, SAVED, OTHER_GONE, TERMINATED)]
    if failed:
        return Verdict.FAILED, min(failed, key=lambda report: (report.ended, report.worker.number))
    if silent := [r for r in reports if r.what == "unreachable"]:
        return Verdict.UNREACHABLE, silent[0]
    if any(r.what == "running" for r in reports):
        ended = [r for r in reports if r.what != "running"]
        return (Verdict.UNSURE, ended[0]) if ended else (Verdict.RUNNING, reports[0])
    if broken := [r for r in reports if r.what != "ended" or r.code == OTHER_GONE]:
        return Verdict.BROKEN, broken[0]
    if stopped := [r for r in reports if r.code in (SAVED, TERMINATED)]:
        return Verdict.STOPPED, stopped[0]
    return Verdict.DONE, reports[0]
