"""The folder of a fake gcloud, as tests see it."""

import ast
import fcntl
import os
import pathlib
import sys
from typing import Any

PYTHON = os.path.realpath(sys.executable)
SCRIPT = pathlib.Path(__file__).with_name("fake_gcloud.py")


class Google:
    """What Google knows, does and was asked."""

    def __init__(self, folder: pathlib.Path):
        """Makes the folder, with `gcloud` in its `bin`."""
        self.folder, self.bin = folder, folder / "bin"
        self.workers = folder / "workers"
        for path in (self.bin, self.workers, folder / "worker-bin"):
            path.mkdir(parents=True)
        program = self.bin / "gcloud"
        program.write_text(f'#!/bin/sh\nexec {PYTHON} -I -S "{SCRIPT}" "$@"\n')
        program.chmod(0o755)
        # What the workers' scripts find as the newest Python.
        (folder / "worker-bin" / "python3.13").symlink_to(PYTHON)
        self.plays()

    def plays(self, **session: Any) -> None:
        """Sets what happens."""
        (self.folder / "session").write_text(repr(session))

    def calls(self, *words: str) -> list[list[str]]:
        """Returns the calls so far that contain all the words."""
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        calls = [ast.literal_eval(line) for line in lines]
        return [call for call in calls if all(any(word in part for part in call) for word in words)]

    def has(self) -> str:
        """Returns the name of the queued resource that is there, "" where there is none."""
        path = self.folder / "state"
        request = ast.literal_eval(path.read_text())["request"] if path.exists() else None
        return request["name"] if request else ""

    def adds_vm(self, node: str, hosts: int = 1) -> None:
        """Has a node that no queued resource made."""
        for index in range(hosts):
            (self.workers / node / str(index)).mkdir(parents=True)

    def preempts(self) -> None:
        """Takes the slice away at this moment."""
        path = self.folder / "state"
        with open(self.folder / "lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            state = ast.literal_eval(path.read_text())
            state["request"]["over"] = "SUSPENDED"
            self.ends()
            path.write_text(repr(state))

    def ends(self) -> None:
        """Ends all that runs on the workers."""
        os.environ["FAKE_GCLOUD"] = str(self.folder)
        from tests.launch import fake_gcloud

        fake_gcloud.kill_all(str(self.workers))
