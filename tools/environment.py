"""Makes or completes .venv; called by tools/setup, with the Python it chose. Standard library only.

Of two calls at once the second waits. It may be killed at any moment: an environment that was being
changed is marked as unfinished, and the next call makes it anew (pip may leave half a package that
it later takes for whole).
"""

import collections
import contextlib
import dataclasses
import fcntl
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
UNFINISHED = VENV / "unfinished"
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of environment."""

    locks: tuple[str, ...]  # ends of the names of its locks: "-dev" is requirements/py3.13-dev.lock
    serves: tuple[str, ...]  # the kinds that it serves for
    gigabytes: float  # on disk


KINDS = {
    "run": Kind(locks=("",), serves=("run",), gigabytes=1.2),
    "tpu": Kind(locks=("", "-tpu"), serves=("run", "tpu"), gigabytes=1.8),
    "cuda": Kind(locks=("", "-cuda"), serves=("run", "cuda"), gigabytes=5.3),
    "dev": Kind(locks=("-dev",), serves=("run", "tpu", "dev"), gigabytes=2.2),
}


class SetupError(Exception):
    """What went wrong, and the mend."""


def say(text: str, end: str = "\n") -> None:
    """Prints a line about the set-up to stderr; on a terminal in the place of a passing one."""
    clear = "\r\033[K" if sys.stderr.isatty() else ""
    print(f"{clear}set-up: {text}", end=end, file=sys.stderr, flush=True)


def mark(kind: str) -> Path:
    """Returns the file that vouches for the environment; it holds the fingerprint."""
    return VENV / f"ready-{kind}"


def is_ready(kind: str, fingerprint: str) -> bool:
    """Tells whether another call has finished the same work meanwhile."""
    if not (PYTHON.exists() and mark(kind).is_file()):
        return False
    return mark(kind).read_text(encoding="utf-8") == fingerprint + "\n"


@contextlib.contextmanager
def only_one() -> Generator[TextIO]:
    """Holds the lock of this repository's environment; the system frees it when its holders die."""
    with open(ROOT / ".venv.lock", "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another set-up is at work here; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock


def version_of(python: Path) -> str | None:
    """Returns the version of a Python ("3.13"), None where it does not run."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def is_made_elsewhere() -> bool:
    """Tells whether the environment was moved or copied here: its scripts name the old place."""
    marks = [mark(kind) for kind in KINDS if mark(kind).is_file()]
    return any(not m.read_text(encoding="utf-8").endswith(f" {ROOT}\n") for m in marks)


def is_ours() -> bool:
    """Tells whether this set-up made the environment, so that it may remove it."""
    return UNFINISHED.exists() or any(mark(kind).exists() for kind in KINDS)


def discard() -> None:
    """Removes the environment; renamed first, so that half of one is never taken for whole."""
    trash = ROOT / ".venv.discarded"
    shutil.rmtree(trash, ignore_errors=True)
    if VENV.exists():
        VENV.rename(trash)
        shutil.rmtree(trash)


def keep_or_discard() -> None:
    """Leaves .venv where it can be built upon; refuses to remove what was not made here."""
    found = version_of(PYTHON)
    if found == VERSION and not UNFINISHED.exists() and not is_made_elsewhere():
        return
    if found and not is_ours():
        raise SetupError(
            f"{VENV} is an environment of Python {found} that was not made here, and {VERSION} is "
            "wanted: move it away or delete it, then call again"
        )
    discard()


def run(command: list[str | Path], lock: TextIO, total: int = 0) -> None:
    """Runs a command, showing of how many packages it has fetched how many; raises SetupError.

    The command holds the lock too: if this process is killed, the next one waits for the command.
    """
    last: collections.deque[str] = collections.deque(maxlen=12)
    fetched = 0
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        pass_fds=[lock.fileno()],
    ) as process:
        for line in process.stdout or ():
            fetched += "(from -r " in line or line.startswith("Ignoring ")
            if line.startswith("WARNING: "):
                warn(line)
            else:
                last.append(line)
                show(line, fetched, total)
    if process.returncode:
        raise SetupError(
            f"'{shlex.join(map(str, command))}' failed:\n{''.join(last)}"
            "Mostly that is the network, the package index (see 'pip config list') or a full disk: "
            "mend it and call again; there is nothing to clean up."
        )


def warn(line: str) -> None:
    """Passes a warning of pip's on, unless it is about an index of the user's that is a folder."""
    if not (line.startswith("WARNING: Location ") and " is ignored" in line):
        say(line.rstrip())


def show(line: str, fetched: int, total: int) -> None:
    """Shows on a terminal how far pip is."""
    if total and sys.stderr.isatty():
        unpacking = line.startswith("Installing collected packages")
        say("unpacking them" if unpacking else f"{fetched} of {total} fetched", end="")


def install(kind: str, lock: TextIO) -> None:
    """Installs the locked packages by plain pip, with the user's own configuration of pip."""
    locks = [ROOT / "requirements" / f"py{VERSION}{end}.lock" for end in KINDS[kind].locks]
    lines = [line for path in locks for line in path.read_text(encoding="utf-8").splitlines()]
    total = sum(line[:1].isalnum() for line in lines)
    names = " and ".join(path.name for path in locks)
    say(f"installing {total} packages of requirements/{names} ({KINDS[kind].gigabytes} GB on disk)")
    pip: list[str | Path] = [PYTHON, "-I", "-m", "pip", "install", "--no-input"]
    wanted: list[str | Path] = [word for path in locks for word in ("-r", path)]
    # The build backend comes first, from a lock of its own: what is built is built with that one.
    run([*pip, "--require-hashes", "-r", ROOT / "requirements" / "build.lock"], lock)
    run([*pip, "--require-hashes", "--no-build-isolation", *wanted], lock, total)
    run([*pip, "--no-deps", "--no-build-isolation", "--editable", ROOT], lock)


def make(kind: str, fingerprint: str, lock: TextIO) -> None:
    """Brings .venv to what the locks say, and marks it as ready when all is done."""
    keep_or_discard()
    # Nothing is taken away, and the locks agree: what is ready for another kind stays so.
    kept = [other for other in KINDS if is_ready(other, fingerprint)]
    VENV.mkdir(exist_ok=True)
    UNFINISHED.touch()
    for old in KINDS:
        mark(old).unlink(missing_ok=True)
    if version_of(PYTHON) is None:
        run([sys.executable, "-I", "-m", "venv", VENV], lock)
    install(kind, lock)
    for done in {*kept, *KINDS[kind].serves}:
        mark(done).write_text(fingerprint + "\n", encoding="utf-8")
    UNFINISHED.unlink()


def main(kind: str, fingerprint: str) -> int:
    """Makes the environment of a kind, one of KINDS; returns the exit code."""
    start = time.monotonic()
    try:
        with only_one() as lock:
            if not is_ready(kind, fingerprint):
                make(kind, fingerprint, lock)
    except KeyboardInterrupt:
        say("interrupted; call again and it is done anew")
        return 130
    except SetupError as error:
        say(str(error))
        return 2
    except OSError as error:
        say(f"{error}; the set-up has to be able to write to {ROOT}, and to nothing else")
        return 2
    say(f"ready in {time.monotonic() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
