"""Runs the binaries as processes: from nothing, or, to save their imports, forked from a warm one."""

import json
import multiprocessing
import os
import pathlib
import resource
import runpy
import subprocess
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import pytest
from etils import epath

ROOT = pathlib.Path(__file__).parent.parent
CONFIG = f"--config={ROOT / 'tests' / 'tiny_config.py'}"

# All that the binaries import, but not they themselves: their flags may be defined once in a process.
_IMPORTS = [
    "tinyjax.train.loop",
    "tinyjax.sample.stories",
    "tinyjax.bin.backend",
    "ml_collections.config_flags",
]


def start(name: str, *arguments: str) -> subprocess.Popen[str]:
    """Starts `python -m tinyjax.bin.NAME ARGUMENTS...` in the repository's folder, on eight CPU devices."""
    env = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "8"}
    command = [sys.executable, "-m", f"tinyjax.bin.{name}", *arguments]
    return subprocess.Popen(
        command, env=env, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    """Waits for a process and returns what it printed."""
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def run(
    folder: pathlib.Path, name: str, *arguments: str, file_limit: int = 0
) -> subprocess.CompletedProcess[str]:
    """Runs a binary in `folder`, forked from a process that has imported nearly all.

    Its files may not grow beyond `file_limit` bytes, where that is given.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTS)
    process = context.Process(target=_run, args=(str(folder), name, arguments, file_limit, dict(os.environ)))
    process.start()
    process.join(300)
    assert process.exitcode is not None, "it took too long"
    out, err = ((folder / stream).read_text() for stream in ("stdout", "stderr"))
    return subprocess.CompletedProcess([name, *arguments], process.exitcode, out, err)


def _run(
    folder: str, name: str, arguments: Sequence[str], file_limit: int, environment: dict[str, str]
) -> None:
    os.environ.update(environment)  # which may have changed since the warm one was started
    os.chdir(folder)
    for descriptor, stream in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(stream, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    if file_limit:
        jax.config.update("jax_enable_compilation_cache", False)  # half an entry would spoil it for others
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
    sys.argv = [name, *arguments]
    runpy.run_module(f"tinyjax.bin.{name}", run_name="__main__", alter_sys=True)


def assert_refused(result: subprocess.CompletedProcess[str], *said: str) -> None:
    """It ended with exit code 2 and one line that says what is wrong, and no traceback."""
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert result.returncode == 2, result
    assert len(errors) == 1, result.stderr
    assert result.stderr.endswith(f"{errors[0]}\n")
    assert "Traceback" not in result.stderr + result.stdout, result.stderr
    for text in said:
        assert text in errors[0]


def records(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Returns the lines of a file of records, local or gs://."""
    return [json.loads(line) for line in epath.Path(path).read_text().splitlines()]


def assert_same_stories(told: Iterable[dict[str, Any]], wanted: Iterable[dict[str, Any]]) -> None:
    """Records of stories are the same, in any order, though these may have been told in other batches.

    There the same tokens come of sums in another order, to which their log-probability is rounded.
    """
    sides = [sorted(side, key=lambda story: (story["prompt"], story["sample"])) for side in (told, wanted)]
    assert sides[0] == [story | {"logprob": pytest.approx(story["logprob"], abs=1e-3)} for story in sides[1]]


def snapshot(folder: pathlib.Path) -> dict[str, bytes]:
    """Returns the contents of all files below `folder`."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
