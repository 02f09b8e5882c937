"""Servers as processes, which say where they listen, and are stopped at the end."""

import contextlib
import dataclasses
import os
import pathlib
import re
import subprocess
import sys
import time
from collections.abc import Generator

from tests.binaries import ROOT


@dataclasses.dataclass
class Running:
    """A server that listens."""

    process: subprocess.Popen[bytes]
    url: str
    log: pathlib.Path


@contextlib.contextmanager
def serving(folder: pathlib.Path, checkpoint: pathlib.Path, *flags: str, key: str = "") -> Generator[Running]:
    """Starts `python -m tinyjax.bin.serve` on a free port; its log goes into `folder`."""
    command = [sys.executable, "-m", "tinyjax.bin.serve", f"--checkpoint={checkpoint}", "--port=0", *flags]
    env = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1", "STORY_KEY": key}
    log = folder / "serve.log"
    with log.open("wb") as opened:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=opened, stderr=opened)
    try:
        yield Running(process, _address(process, log), log)
    finally:
        process.terminate()
        process.wait(30)


def _address(process: subprocess.Popen[bytes], log: pathlib.Path) -> str:
    end = time.monotonic() + 120
    while not (found := re.search(r" at (http://\S+),", log.read_text())):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.05)
    return found[1]
