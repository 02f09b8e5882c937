"""The plan binary: what it prints and returns, and one line where something is wrong."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import pytest

from tests.binaries import CONFIG, assert_refused

ROOT = pathlib.Path(__file__).parent.parent.parent
SMALL = [
    "--vocab_size=512",
    f"--config={ROOT}/configs/llama.py:260K",
    "--config.data.batch_size=16",
    "--config.model.num_layers=2",
]


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu isn't installed ([tpu])")
@pytest.mark.slow
def test_a_plan_tells_memory_flops_traffic_and_speed_of_all_steps(run_binary, tmp_path: pathlib.Path):
    file = tmp_path / "plan.json"
    done = run_binary("plan", *SMALL, "--topology=v5e:2x1", f"--json={file}")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(
        "v5e:2x1: 2 chips, 2 devices of 197 TFLOP/s, 17.18 GB at 819 GB/s each; mesh:"
    )
    for said in ("attention: fused", "train: fits", "evaluation: fits", "sampling: fits", "Estimates:",
                 "all-reduce         over replica", "tokens/s at most (MFU"):  # fmt: skip
        assert said in done.stdout
    told = json.loads(file.read_text())
    assert (told["fits"], told["compiled_for"], told["chips"]) == (True, "tpu", 2)
    assert set(told["steps"]) == {"train", "evaluation", "sampling"}
    assert told["steps"]["train"]["memory"]["donated_buffers"] > 10
    assert told["config"]["model"]["vocab_size"] == 512


@pytest.mark.slow
def test_without_libtpu_it_says_so_and_where_nothing_fits_returns_3(tmp_path: pathlib.Path):
    main = "import sys; sys.modules['libtpu'] = None; from tinyjax.bin import plan; plan.main()"
    arguments = [
        *SMALL,
        "--topology=v5e:1x1",
        "--config.data.batch_size=65536",
        "--config.model.num_layers=1",
    ]
    done = subprocess.run(
        [sys.executable, "-c", main, *arguments], capture_output=True, text=True, timeout=300, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (3, "")
    assert "NOT compiled for TPUs: libtpu isn't installed: pip install 'tinyjax[tpu]'" in done.stdout
    assert "train: does NOT fit: needs" in done.stdout
    assert "\ndoes NOT fit\n" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--topology is missing; give the chips to plan for, as in --topology=v5e:2x2"),
        (["--topology=v7:2x2"], "there is no 'v7'; give one of v4, v5e, v5p, v6e, tpu7x"),
        (
            ["--topology=v5e:2x2", "--config.data.batch_size=18"],
            "config.data.batch_size 18 does not divide over",
        ),
    ],
)
@pytest.mark.slow
def test_bad_input_is_refused_in_a_line(run_binary, arguments: list[str], said: str):
    assert_refused(run_binary("plan", CONFIG, *arguments), said)
