"""Exact resume: a run that is stopped and killed, and taken up each time, ends as if nothing had been."""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import jax
import numpy as np
import psutil
import pytest

from tests import binaries
from tests.data.test_loader import workers_of
from tests.tiny import tiny_config
from tests.train.test_loop import evaluations, losses, metrics, read_params
from tinyjax.checkpoint import manager as checkpoints
from tinyjax.train.loop import CHECKPOINTS, train

pytestmark = [pytest.mark.slow, pytest.mark.alone]

HELD_UP = 15.0  # seconds; Grain waits 25 for a worker that doesn't end


@dataclasses.dataclass
class Story:
    """What happened to the run."""

    run: pathlib.Path
    terminated: subprocess.CompletedProcess[str]
    interrupted: subprocess.CompletedProcess[str]
    killed: subprocess.CompletedProcess[str]
    checkpoints: list[list[int]]  # that were there after each of the three


@pytest.fixture(scope="module")
def story(tiny_data, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """The run of `tiny_run`, ended by SIGTERM, then by Ctrl-C, then by SIGKILL, then finished."""
    run = tmp_path_factory.mktemp("stopped") / "run"
    ended, found = [], []
    for signum, is_time in (
        (signal.SIGTERM, lambda: last_step(run) >= 10),
        (signal.SIGINT, lambda: last_step(run) >= 45),
        (signal.SIGKILL, lambda: last_step(run) >= 115 and 100 in checkpoints.steps(run / CHECKPOINTS)),
    ):
        ended.append(start_and_signal(run, str(tiny_data.path), signum, is_time))
        found.append(checkpoints.steps(run / CHECKPOINTS))
    train(tiny_config(data__path=str(tiny_data.path)), run)
    return Story(run, *ended, found)


def start_and_signal(run: pathlib.Path, data: str, signum: int, is_time: Callable[[], bool]):
    process = binaries.start("train", binaries.CONFIG, f"--config.data.path={data}", f"--run_dir={run}")
    while not is_time():
        assert process.poll() is None, binaries.finish(process)
        time.sleep(0.002)
    process.send_signal(signum)
    return binaries.finish(process)


def last_line(run: pathlib.Path) -> dict:
    try:
        return json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    except (OSError, IndexError, ValueError):  # not there yet, or caught while it was written
        return {"step": 0}


def last_step(run: pathlib.Path) -> int:
    return last_line(run)["step"]


def test_sigterm_saves_at_its_step_and_exits_42(story: Story):
    assert story.terminated.returncode == 42
    (step,) = story.checkpoints[0]
    assert step >= 10
    assert f"stopped by SIGTERM after step {step}; a checkpoint was written" in story.terminated.stderr
    assert "the same command goes on from there" in story.terminated.stderr
    assert "Traceback" not in story.terminated.stderr


def test_ctrl_c_saves_at_its_step_and_exits_130(story: Story):
    assert story.interrupted.returncode == 130
    step = story.checkpoints[1][-1]
    assert f"going on after step {story.checkpoints[0][0]}" in story.interrupted.stderr
    assert f"stopped by SIGINT after step {step}; a checkpoint was written" in story.interrupted.stderr
    assert "Traceback" not in story.interrupted.stderr


def test_a_kill_loses_only_what_came_after_the_last_checkpoint(story: Story):
    assert story.killed.returncode == -signal.SIGKILL
    assert story.checkpoints[2][-1] == 100


def test_each_step_is_in_the_metrics_once(story: Story):
    steps = [line["step"] for line in metrics(story.run) if "loss" in line]
    assert steps == list(range(1, 201))
    assert list(evaluations(story.run)) == [100, 200]


def test_the_losses_are_the_same_to_the_bit(story: Story, tiny_run: pathlib.Path):
    assert losses(story.run) == losses(tiny_run)
    assert evaluations(story.run) == evaluations(tiny_run)


def test_the_parameters_and_moments_are_the_same_to_the_bit(story: Story, tiny_run: pathlib.Path):
    jax.tree.map(np.testing.assert_array_equal, read_params(story.run), read_params(tiny_run))


def test_temporary_checkpoints_are_gone_and_permanent_ones_there(story: Story, tiny_run: pathlib.Path):
    """What SIGTERM and Ctrl-C left at odd steps went when something newer was there."""
    assert checkpoints.steps(story.run / CHECKPOINTS) == [50, 100, 150, 200]
    assert checkpoints.steps(tiny_run / CHECKPOINTS) == [50, 100, 150, 200]
    left = {path.name for path in (story.run / CHECKPOINTS).iterdir()}
    assert left == {"50", "100", "150", "200"}  # and nothing half-written


# With worker processes, which a terminal's Ctrl-C and a cluster's SIGTERM reach too.


def start_with_workers(run: pathlib.Path, data: str) -> subprocess.Popen[str]:
    """Starts a run with two workers, as a job (a process group) of its own."""
    command = [
        sys.executable, "-m", "tinyjax.bin.train", binaries.CONFIG, f"--config.data.path={data}",
        f"--run_dir={run}", "--config.data.grain_workers=2",
    ]  # fmt: skip
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=binaries.ROOT, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    )


@pytest.mark.parametrize(
    ("signum", "code", "step"),
    [(signal.SIGINT, 130, 0), (signal.SIGTERM, 42, 20)],
)
def test_workers_let_a_signal_to_all_be_the_trainers(
    signum: int, code: int, step: int, tiny_data, tiny_run: pathlib.Path, tmp_path: pathlib.Path
):
    """Also while they start, before the first step. Then the run goes on without them, and is the same."""
    process = start_with_workers(tmp_path / "run", str(tiny_data.path))
    while len(found := workers_of(psutil.Process(process.pid))) < 2 or last_step(tmp_path / "run") < step:
        assert process.poll() is None, binaries.finish(process)
        time.sleep(0.002)
    os.killpg(process.pid, signum)
    begin = time.monotonic()
    ended = binaries.finish(process)
    assert ended.returncode == code, ended.stderr
    assert time.monotonic() - begin < (HELD_UP if step else 30)  # the first step compiles
    assert "a checkpoint was written" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not psutil.wait_procs(found, timeout=5)[1]
    train(tiny_config(data__path=str(tiny_data.path)), tmp_path / "run")
    assert losses(tmp_path / "run") == losses(tiny_run)


def test_with_workers_it_ends_soon_after_its_last_evaluation(
    tiny_data, tiny_run: pathlib.Path, tmp_path: pathlib.Path
):
    process = start_with_workers(tmp_path / "run", str(tiny_data.path))
    while len(found := workers_of(psutil.Process(process.pid))) < 2:
        assert process.poll() is None, binaries.finish(process)
        time.sleep(0.01)
    while last_step(tmp_path / "run") < 200 or "loss" in last_line(tmp_path / "run"):
        assert process.poll() is None, binaries.finish(process)
        time.sleep(0.01)
    begin = time.monotonic()
    ended = binaries.finish(process)
    assert time.monotonic() - begin < HELD_UP
    assert ended.returncode == 0, ended.stderr
    assert not psutil.wait_procs(found, timeout=5)[1]
    assert losses(tmp_path / "run") == losses(tiny_run)
