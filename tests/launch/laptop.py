"""A laptop for tests: a repository with launch/tpu, a fake gcloud, and jobs that do what a test says."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

from tests.launch.google import PYTHON, Google

ROOT = pathlib.Path(__file__).parents[2]

# In the place of training: lists its starts in the run folder, then does what a script there says for this
# worker and this start: "run" or "exit N".
TRAIN = '''
"""Stands in for training."""
import json, os, pathlib, signal, sys, time

if __name__ == "__main__":
    run_dir = pathlib.Path(next(a.split("=", 1)[1] for a in sys.argv if a.startswith("--run_dir=")))
    worker = "/".join(pathlib.Path(os.environ["HOME"]).parts[-2:])
    starts = run_dir / ("starts-" + worker.replace("/", "-"))
    start = {"pid": os.getpid(), "words": sys.argv[1:], "mode": os.environ.get("MODE")}
    with open(starts, "a") as file:
        file.write(json.dumps(start) + "\\n")
    number = len(starts.read_text().splitlines())
    script = json.loads((run_dir / "script.json").read_text())
    todo = script.get(worker) or script["all"]
    todo = todo[min(number, len(todo)) - 1].split()
    signal.signal(signal.SIGTERM, lambda *_: (print("saved at step 7"), sys.exit(42)))
    print("start", number, "of", worker)
    while todo[0] == "run":
        time.sleep(0.02)
    if int(todo[1]):
        print("Traceback: the", worker, "broke")
    sys.exit(int(todo[1]))
'''
SETUP = """#!/bin/sh
[ "$1" = tpu ] || exit 2
mkdir -p .venv/bin && ln -sf {python} .venv/bin/python
"""


class Laptop:
    """Where launch/tpu is called."""

    def __init__(self, folder: pathlib.Path, repository: pathlib.Path):
        """Makes a fake gcloud and a folder that stands for a bucket, beside a repository."""
        self.repository, self.bucket = repository, folder / "bucket"
        self.google = Google(folder / "google")
        self.state = folder / "state"
        self.bucket.mkdir()
        self.env = {
            "PATH": f"{self.google.bin}:/usr/bin:/bin",
            "HOME": str(folder),
            "XDG_STATE_HOME": str(self.state),
            "FAKE_GCLOUD": str(self.google.folder),
        }

    def script(self, **todo: list[str]) -> None:
        """Says what the jobs do: for one worker ("s/1", "s-0/1"), or for all that aren't named ("all")."""
        (self.bucket / "script.json").write_text(json.dumps(todo))

    def start(self, *words: str, **env: str) -> subprocess.Popen[str]:
        """Starts launch/tpu; `--` and what follows goes last."""
        at = words.index("--") if "--" in words else len(words)
        fast = [] if "--poll_seconds" in " ".join(words) else ["--poll_seconds=0.05"]
        command = [sys.executable, str(self.repository / "launch" / "tpu"), *words[:at], *fast, *words[at:]]
        return subprocess.Popen(
            command, env=self.env | env, cwd=self.bucket.parent, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def tpu(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Calls launch/tpu."""
        process = self.start(*words, **env)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def train(self) -> list[str]:
        """The words for a job in the bucket."""
        return ["--", "train", f"--run_dir={self.bucket}"]

    def starts(self, worker: str = "s/0") -> list[dict]:
        """The starts of the job on a worker."""
        path = self.bucket / f"starts-{worker.replace('/', '-')}"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def wait_for_starts(self, number: int, worker: str = "s/0") -> None:
        """Waits until a job was started so often."""
        wait_until(lambda: len(self.starts(worker)) >= number)


def make_repository(folder: pathlib.Path) -> None:
    """Makes a git repository of launch/tpu and what it needs, with a stand-in for training."""
    for name in ("launch", "tinyjax/bin", "tools"):
        (folder / name).mkdir(parents=True)
    shutil.copytree(
        ROOT / "launch" / "cloud", folder / "launch" / "cloud", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(ROOT / "launch" / "tpu", folder / "launch" / "tpu")
    for name in ("__init__.py", "errors.py"):
        shutil.copy(ROOT / "tinyjax" / name, folder / "tinyjax" / name)
    (folder / "tinyjax" / "bin" / "train.py").write_text(TRAIN)
    (folder / "tools" / "setup").write_text(SETUP.format(python=PYTHON))
    (folder / "tools" / "setup").chmod(0o755)
    (folder / ".gitignore").write_text("/.venv*\n__pycache__/\n")
    git(folder, "init", "--quiet")
    commit(folder)


def commit(folder: pathlib.Path) -> str:
    """Commits all that is there; returns the commit."""
    git(folder, "add", "--all")
    git(folder, "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "--quiet", "--message=test")
    return git(folder, "rev-parse", "HEAD")


def git(folder: pathlib.Path, *words: str) -> str:
    """Calls git."""
    done = subprocess.run(["git", "-C", folder, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def wait_until(is_so, seconds: float = 60) -> None:
    """Waits for something."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "it didn't happen"
        time.sleep(0.01)


def interrupt(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Presses Ctrl-C; returns the exit code and what was said."""
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    return process.returncode, err


def alive(pid: int) -> bool:
    """Tells whether a process runs, and is no zombie."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def kill(pid: int) -> None:
    """Kills a process."""
    os.kill(pid, signal.SIGKILL)
