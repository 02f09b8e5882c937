"""Evaluation during training: it may be repeated without end."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from tests.conftest import ROOT

SCRIPT = """
import ctypes, gc, json, sys, threading
import psutil
from tests.tiny import tiny_config
from tinyjax.train.loop import start
from tinyjax.train.report import open_report
from tinyjax.train.run import prepare_run
from tinyjax.train.validation import make_evaluate

config = tiny_config(data__path=sys.argv[1], data__batch_size=1, mesh__replica=1)
run = prepare_run(config, sys.argv[2])
progress = start(run)
with open_report(run, 0, 0.0) as report:
    evaluate = make_evaluate(run, report)
    told, process = [], psutil.Process()
    # What was freed goes back to the system; kept for later, it would hide a leak.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", lambda pad: None)
    for _ in range(70):
        evaluate(progress)
        gc.collect()
        trim(0)
        told.append((process.memory_info().rss, threading.active_count(), process.num_fds()))
print(json.dumps(told))
"""


@pytest.mark.slow
def test_fifty_evaluations_take_no_more_memory_than_one(tiny_data, tmp_path: pathlib.Path):
    """After the first twenty, in which caches fill."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": "1"}
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tiny_data.path), str(tmp_path / "run")],
        env=env, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    memory, threads, files = zip(*json.loads(result.stdout.splitlines()[-1]), strict=True)
    assert memory[-1] - memory[20] < 1_000_000
    assert threads[-1] <= threads[20]
    assert files[-1] <= files[20]
