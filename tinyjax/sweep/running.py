"""The members of a sweep, one after the other, each as a process of its own."""

import contextlib
import dataclasses
import fcntl
import signal
import subprocess
from collections.abc import Callable, Generator, Sequence
from typing import Any

from tinyjax.cache import cache_entry
from tinyjax.errors import Stopped
from tinyjax.recordio import is_local
from tinyjax.sweep.task import Command, Task, is_trained

LOCKS = ".locks"  # in the sweep's folder: a file for each member, locked while a process trains it
STOPPED = {42: signal.SIGTERM, 130: signal.SIGINT}  # exit codes of binaries that were told to stop

Tell = Callable[[str], None]
Evaluations = Callable[[Task], Sequence[Command]]


@dataclasses.dataclass(frozen=True)
class Lock:
    """What keeps other processes from a member."""

    held: bool  # by this process
    files: tuple[int, ...] = ()  # descriptors that hold it, as long as some process has them open


class Child:
    """The process that is at work, to which the signals go that come to this one."""

    def __init__(self) -> None:
        """Nothing is at work yet."""
        self.signum = 0  # the first signal that came
        self._process: subprocess.Popen | None = None

    def catch(self, signum: int, _: Any) -> None:
        """Hands a signal on."""
        self.signum = self.signum or signum
        if self._process is not None:
            self._process.send_signal(signum)

    def run(self, command: Command, lock: Lock) -> int:
        """Runs a command to its end and returns its exit code; raises Stopped where it was told to stop.

        It is in a process group of its own, for Ctrl-C would come twice otherwise, and twice means at once.
        It holds the lock too, so that it stands as long as this process or that one lives.
        """
        if not self.signum:
            code = self._wait(subprocess.Popen(command, process_group=0, pass_fds=lock.files))
            self.signum = self.signum or STOPPED.get(code, 0)
        if self.signum:
            raise Stopped(self.signum, "in the midst of a sweep; what is trained of it is kept")
        return code

    def _wait(self, process: subprocess.Popen) -> int:
        self._process = process
        if self.signum:  # it came while the process was started
            process.send_signal(self.signum)
        code = process.wait()
        self._process = None
        return code


def run_all(tasks: Sequence[Task], evaluations: Evaluations, tell: Tell) -> dict[str, str]:
    """Trains and evaluates what isn't yet; returns what is wrong with those that failed, by name.

    Raises:
      Stopped: SIGINT or SIGTERM came, here or to the process at work.
    """
    failed = {}
    with _watched() as child:
        for number, task in enumerate(tasks, 1):
            with _locked(task) as lock:
                problem = _run(task, evaluations, child, lock, tell, f"{number} of {len(tasks)}: {task.name}")
            if problem:
                failed[task.name] = problem
                tell(f"{task.name} {problem}")
    return failed


def _run(task: Task, evaluations: Evaluations, child: Child, lock: Lock, tell: Tell, title: str) -> str:
    """Does what is left to do of a member; returns what went wrong, "" for nothing."""
    if not lock.held:
        return "is being trained by another process"
    commands = [*([] if is_trained(task) else [task.command]), *evaluations(task)]
    tell(title if commands else f"{title} is there")
    for command in commands:
        if code := child.run(command, lock):
            return f"failed with exit code {code}"
    return ""


@contextlib.contextmanager
def _watched() -> Generator[Child]:
    """Yields what gets the signals, instead of this process."""
    child = Child()
    before = {number: signal.signal(number, child.catch) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield child
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _locked(task: Task) -> Generator[Lock]:
    """Tries to lock a member for this process and those it starts.

    A sweep may be killed while its member goes on; two that train into one folder would spoil it. On gs://
    there are no locks: there it is locked for this machine only.
    """
    out = task.folder.parent
    folder = out / LOCKS if is_local(out) else cache_entry("locks", out)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / task.name, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield Lock(False)
        else:
            yield Lock(True, (file.fileno(),))
