"""The doctor as people call it."""

import json
import pathlib
import socket

import pytest

from tests import binaries
from tests.binaries import assert_refused
from tests.gcs import Gcs

QUICK = ("--port=0", "--chip_seconds=100", "--least_gb=0")


@pytest.mark.slow
def test_on_a_healthy_machine_it_prints_a_line_for_each_check(
    gcs: Gcs, bucket: str, tmp_path: pathlib.Path, monkeypatch
):
    monkeypatch.setenv("PATH", "")  # a GPU would be missed: tests run on the CPU
    result = binaries.run(tmp_path, "doctor", *QUICK, f"--bucket={bucket}")
    lines = result.stdout.splitlines()
    assert (result.returncode, result.stderr) == (0, "")
    assert {line.split()[0] for line in lines} <= {"ok", "warning"}
    names = [line.split(None, 1)[1].partition(":")[0] for line in lines]
    assert names == [
        "python", "versions", "lock", "chips", "matmul", "gpu", "memory", "home", "run folder", "cache",
        "shared memory", "files", "clock", *["bucket"] * 5,
    ]  # fmt: skip


def test_problems_are_an_exit_code_of_2_and_json_has_them(gcs: Gcs, bucket: str, tmp_path: pathlib.Path):
    """Several at once, each in a line of its own; JAX gets no time to start."""
    (tmp_path / "own.lock").write_text("numpy==0.1\n")
    with socket.create_server(("", 0)) as taken, gcs.forbidding("^delete "):
        port = taken.getsockname()[1]
        result = binaries.run(
            tmp_path, "doctor", f"--port={port}", "--chip_seconds=1", "--least_gb=1e9", "--lock=own.lock",
            f"--bucket={bucket}", f"--coordinator=127.0.0.1:{port}", "--json",
        )  # fmt: skip
    assert result.returncode == 2, result
    told = json.loads(result.stdout)
    assert told["host"] == socket.gethostname()
    levels = {(found["name"], found["level"]) for found in told["found"]}
    assert {("port", "problem"), ("run folder", "problem"), ("bucket", "problem"), ("bucket", "ok"),
            ("lock", "warning"), ("coordinator", "ok")} <= levels  # fmt: skip
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("flag", ["--bucket=bucket/runs", "--coordinator=host"])
def test_flags_that_make_no_sense_are_refused(flag: str, tmp_path: pathlib.Path):
    assert_refused(binaries.run(tmp_path, "doctor", flag), flag.split("=")[1])
