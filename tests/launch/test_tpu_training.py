"""The real thing but for the cloud: `launch/tpu up` trains, is preempted in the middle, and goes on."""

import json
import pathlib
import shutil

import pytest

from tests.launch.laptop import ROOT, Laptop, commit, wait_until
from tests.tiny import tiny_data  # noqa: F401
from tinyjax.checkpoint import manager as checkpoints
from tinyjax.train.loop import CHECKPOINTS

pytestmark = pytest.mark.alone

STEPS = 300
SETUP = f"#!/bin/sh\nln -s {ROOT / '.venv'} .venv\n"


@pytest.fixture
def whole(laptop: Laptop, tmp_path: pathlib.Path, repository: pathlib.Path) -> Laptop:
    """A laptop whose repository holds all of tinyjax."""
    laptop.repository = tmp_path / "repository"
    shutil.copytree(repository, laptop.repository)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "tinyjax", laptop.repository / "tinyjax", dirs_exist_ok=True, ignore=ignored)
    (laptop.repository / "tests").mkdir()
    shutil.copy(ROOT / "tests" / "tiny_config.py", laptop.repository / "tests")
    (laptop.repository / "tools" / "setup").write_text(SETUP)
    commit(laptop.repository)
    return laptop


@pytest.mark.slow
def test_training_that_is_preempted_in_the_middle_is_done_in_the_end(whole: Laptop, tiny_data):  # noqa: F811
    run_dir = whole.bucket / "run"
    process = whole.start(
        "up", "s", "--zone=us-west4-a", "--type=v5litepod-4", "--spot", "--poll_seconds=0.5",
        "--env=JAX_PLATFORMS=cpu", f"--env=JAX_COMPILATION_CACHE_DIR={ROOT / '.pytest_cache' / 'jax'}",
        "--", "train", "--config=tests/tiny_config.py", f"--config.data.path={tiny_data.path}",
        f"--config.train.num_steps={STEPS}", f"--run_dir={run_dir}",
    )  # fmt: skip
    metrics = run_dir / "metrics.jsonl"
    wait_until(lambda: metrics.exists() and metrics.read_bytes().count(b"\n") > 60)
    whole.google.preempts()
    before = steps(metrics)
    assert 60 < len(before) < STEPS
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, out + err
    assert "is PREEMPTED" in err
    assert len(whole.google.calls("create")) == 2
    assert steps(metrics) == list(range(1, STEPS + 1))
    assert checkpoints.steps(run_dir / CHECKPOINTS)[-1] == STEPS


def steps(metrics: pathlib.Path) -> list[int]:
    """The steps of training whose losses are there."""
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    return [line["step"] for line in lines if "loss" in line]
