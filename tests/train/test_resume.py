"""Exact resume: a run that is stopped and killed, and taken up each time, ends as if nothing had been."""

import dataclasses
import json
import pathlib
import signal
import subprocess
import time
from collections.abc import Callable

import jax
import numpy as np
import pytest

from tests import binaries
from tests.tiny import tiny_config
from tests.train.test_loop import evaluations, losses, metrics
from tinyjax.checkpoint import manager as checkpoints
from tinyjax.parallel.sharding import make_mesh
from tinyjax.train.loop import CHECKPOINTS, train
from tinyjax.train.step import abstract_state

pytestmark = pytest.mark.slow


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


def last_step(run: pathlib.Path) -> int:
    try:
        return json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["step"]
    except (OSError, IndexError, ValueError):  # not there yet, or caught while it was written
        return 0


def read_params(run: pathlib.Path) -> dict:
    folder = checkpoints.find(run)
    config = checkpoints.read_meta(folder).config
    target = abstract_state(config, make_mesh(config.mesh))
    return checkpoints.read_state(folder, params=target.params, opt_state=target.opt_state)


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
