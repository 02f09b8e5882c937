"""The train binary: it ends with 0, or with 2 and one line that says what to mend."""

import json
import pathlib
import shutil
import time

import pytest

from tests import binaries
from tests.binaries import CONFIG, assert_refused, snapshot
from tinyjax.checkpoint import manager as checkpoints
from tinyjax.train.loop import CHECKPOINTS


@pytest.fixture(scope="module")
def data(tiny_data) -> str:
    return f"--config.data.path={tiny_data.path}"


@pytest.mark.slow
def test_a_run_from_its_beginning_to_its_end(tmp_path: pathlib.Path, data: str):
    result = binaries.run(
        tmp_path,
        "train",
        CONFIG,
        data,
        "--run_dir=run",
        "--config.train.num_steps=7",
        "--config.data.grain_workers=1",
    )
    assert result.returncode == 0, result.stderr
    assert checkpoints.steps(tmp_path / "run" / CHECKPOINTS) == [7]
    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    assert stored["train"]["num_steps"] == 7
    assert stored["model"]["vocab_size"] == 320  # completed from the data
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4, 5, 6, 7, 7]
    assert any((tmp_path / "run" / "tensorboard").iterdir())
    assert "model: 0.03M parameters" in result.stderr
    assert "devices: 8 x cpu" in result.stderr
    assert "bits/byte" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([CONFIG, "--config.model.d_modle=3"], "'config.model.d_modle' (did you mean 'd_model'?)"),
        ([CONFIG, "--config.modle.d_model=3"], "'config.modle' (did you mean 'model'?)"),
        ([CONFIG, "--config.model.d_model=wide"], "config.model.d_model"),
        ([CONFIG, "--config.model.d_model=-32"], "config.model.d_model is -32; it must be"),
        ([CONFIG, "--config.model.attention=flash"], "legal values: auto, reference, blockwise"),
        ([CONFIG, "--config.train.minutes=-1"], "config.train.minutes is -1.0"),
        ([CONFIG, "--run_dri=here"], "Did you mean: run_dir"),
        ([CONFIG, "here"], "unexpected argument 'here'"),
        ([CONFIG], "config.data.path is empty"),
        ([CONFIG, "--config.data.path=nowhere"], "no prepared stories at 'nowhere'"),
        ([], "--config is missing"),
        (["--config=nowhere.py"], "--config can't be read"),
        (["--config=nowhere.py", "--config.model.d_model=64"], "--config can't be read"),
        (["--config=number.py"], "get_config() of the file given by --config returns a int"),
        ([CONFIG, "--run_dir="], "--run_dir is missing"),
    ],
)
def test_a_mistake_in_the_call_is_one_line(tmp_path: pathlib.Path, arguments: list[str], said: str):
    (tmp_path / "number.py").write_text("def get_config():\n    return 1\n")
    assert_refused(binaries.run(tmp_path, "train", "--run_dir=run", *arguments), said)
    assert not (tmp_path / "run").exists()


def test_the_run_folder_of_other_settings_stays_as_it_was(tmp_path, data: str, tiny_run: pathlib.Path):
    shutil.copytree(tiny_run, tmp_path / "run")
    before = snapshot(tmp_path / "run")
    result = binaries.run(tmp_path, "train", CONFIG, data, "--run_dir=run", "--config.model.d_ff=96")
    assert_refused(result, "config.model.d_ff was 64 and is now 96", "choose another --run_dir")
    assert snapshot(tmp_path / "run") == before


@pytest.mark.parametrize(
    ("run_dir", "said"),
    [("file/run", "file/run"), ("file", "file"), ("/proc/tinyjax", "/proc/tinyjax")],
)
def test_a_run_folder_that_can_not_be_made(tmp_path: pathlib.Path, data: str, run_dir: str, said: str):
    """Not even by root: a regular file stands there, or it is no place for files."""
    (tmp_path / "file").write_text("mine")
    assert_refused(binaries.run(tmp_path, "train", CONFIG, data, f"--run_dir={run_dir}"), said)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.slow
@pytest.mark.parametrize("limit", [500, 20_000])
def test_files_that_can_not_grow_end_it_and_it_goes_on_later(tmp_path: pathlib.Path, data: str, limit: int):
    """As on a full disk: first config.json does not fit, then the arrays of a checkpoint."""
    command = (tmp_path, "train", CONFIG, data, "--run_dir=run", "--config.train.num_steps=3")
    result = binaries.run(*command, file_limit=limit)
    assert_refused(result, "the same command")
    assert checkpoints.steps(tmp_path / "run" / CHECKPOINTS) == []
    again = binaries.run(*command)
    assert again.returncode == 0, again.stderr
    assert checkpoints.steps(tmp_path / "run" / CHECKPOINTS) == [3]
    assert sorted(path.name for path in (tmp_path / "run" / CHECKPOINTS).iterdir()) == ["3"]


@pytest.mark.slow
def test_checkpoints_that_can_not_be_written_any_more_end_it(tmp_path: pathlib.Path, data: str):
    """Their folder goes while it trains; a file in its place keeps it from being made again."""
    folder = tmp_path / "run" / CHECKPOINTS
    process = binaries.start("train", CONFIG, data, f"--run_dir={tmp_path / 'run'}")
    while 50 not in checkpoints.steps(folder):
        assert process.poll() is None, binaries.finish(process)
        time.sleep(0.002)
    folder.rename(tmp_path / "moved")
    folder.write_text("mine")
    begin = time.monotonic()
    result = binaries.finish(process)
    assert_refused(result, "a checkpoint could not be written", "the same command again")
    assert time.monotonic() - begin < 60
    assert folder.read_text() == "mine"
    assert checkpoints.steps(tmp_path / "moved") == [50]
