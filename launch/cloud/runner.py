"""Calls gcloud and git, or prints what would be called."""

import concurrent.futures
import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple, TypeVar

from tinyjax.errors import UserError

_AT_ONCE = 16  # connections
_NO_GCLOUD = (
    "gcloud isn't on PATH; install it (cloud.google.com/sdk/docs/install), run 'gcloud init', then the same "
    "command again"
)
_T = TypeVar("_T")
_R = TypeVar("_R")


class Result(NamedTuple):
    """How a call ended."""

    code: int
    out: str
    err: str


class Runner:
    """Runs commands; with `dry` prints each, quoted for a shell, and answers as if all went well."""

    def __init__(self, dry: bool = False, poll_seconds: float = 30):
        """Takes whether to print only, and how long to wait between looks at Google's state."""
        self.dry = dry
        self.poll_seconds = poll_seconds
        self._running: set[subprocess.Popen[str]] = set()

    def call(self, command: Sequence[str], timeout: float, expected: str = "") -> Result:
        """Returns a command's exit code and what it printed; a timeout reads as a lost connection."""
        if self.dry:
            print(shlex.join(command))
            return Result(0, expected, "")
        with self._started(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                out, err = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                return Result(255, "", f"{command[0]} timed out: no answer within {timeout:.0f} s")
        return Result(process.returncode, out, err)

    def stream(self, command: Sequence[str]) -> int:
        """Lets a command print for itself; returns its exit code."""
        if self.dry:
            print(shlex.join(command))
            return 0
        with self._started(command) as process:
            return process.wait()

    def each(self, jobs: Sequence[_T], function: Callable[[_T], _R]) -> list[_R]:
        """Does the same with several workers at once; in order where it only prints."""
        if self.dry or len(jobs) == 1:
            return [function(job) for job in jobs]
        with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
            try:
                return list(pool.map(function, jobs))
            except KeyboardInterrupt:
                pool.shutdown(wait=False, cancel_futures=True)
                for process in list(self._running):
                    _end(process)
                raise

    @contextlib.contextmanager
    def _started(self, command: Sequence[str], **options: Any) -> Generator[subprocess.Popen[str]]:
        """Starts a program in a session of its own, and ends all of it if we are left early."""
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, **options)
        except FileNotFoundError:
            raise UserError(
                _NO_GCLOUD if command[0] == "gcloud" else f"{command[0]} isn't on PATH; install it"
            ) from None
        self._running.add(process)
        with process:
            try:
                yield process
            finally:
                self._running.discard(process)
                _end(process)

    def note(self, text: str) -> None:
        """Says something beside the commands: as a comment where they are printed, else nothing."""
        if self.dry:
            print(f"# {text}")

    def say(self, text: str) -> None:
        """Tells what is happening, where something is."""
        if not self.dry:
            print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)

    def now(self) -> float:
        """Returns the time, in seconds that only grow."""
        return time.monotonic()

    def sleep(self, polls: float = 1) -> None:
        """Waits for some times the poll interval."""
        if not self.dry:
            time.sleep(polls * self.poll_seconds)


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
