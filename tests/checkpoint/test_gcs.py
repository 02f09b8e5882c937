"""Runs and checkpoints on gs://, by the real client libraries, against a server on 127.0.0.1."""

import json
import pathlib
import signal
import subprocess
import time

import jax
import numpy as np
import pytest
from etils import epath

from tests import binaries
from tests.binaries import CONFIG, assert_refused
from tests.checkpoint.test_manager import write_steps
from tests.gcs import BUCKET, CALLER, Gcs
from tests.tiny import tiny_config
from tests.train.test_loop import losses
from tinyjax.checkpoint import copying, remote
from tinyjax.checkpoint import manager as checkpoints
from tinyjax.errors import UserError
from tinyjax.train.loop import train

# What a failed upload leaves behind is collected later, and pytest would tell of it.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

LENGTH = ("--config.train.num_steps=60", "--config.train.checkpoint_every=25")


def train_on(data, run_dir: str, *arguments: str) -> subprocess.Popen[str]:
    return binaries.start(
        "train", CONFIG, f"--config.data.path={data.path}", f"--run_dir={run_dir}", *LENGTH, *arguments
    )


def sample(checkpoint: str) -> subprocess.CompletedProcess[str]:
    return binaries.finish(binaries.start("sample", f"--checkpoint={checkpoint}", "--max_tokens=8"))


@pytest.fixture(scope="module")
def run(gcs: Gcs, tiny_data) -> str:
    """A run on gs:// that was killed after its first checkpoint, and then finished."""
    folder = f"gs://{BUCKET}/run"
    process = train_on(tiny_data, folder)
    while not gcs.has("run/checkpoints/25/commit_success.txt"):
        assert process.poll() is None, binaries.finish(process)
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert binaries.finish(process).returncode == -signal.SIGKILL
    finished = binaries.finish(train_on(tiny_data, folder))
    assert finished.returncode == 0, finished.stderr
    assert "going on after step " in finished.stderr
    return folder


def test_a_run_killed_on_gs_ends_as_one_on_a_disk(run: str, tiny_data, tmp_path: pathlib.Path):
    config = tiny_config(data__path=str(tiny_data.path), train__num_steps=60, train__checkpoint_every=25)
    train(config, tmp_path / "run")
    stored = [json.loads(line) for line in (epath.Path(run) / "metrics.jsonl").read_text().splitlines()]
    assert {line["step"]: line["loss"] for line in stored if "loss" in line} == losses(tmp_path / "run")
    assert len(stored) == 61
    assert json.loads((epath.Path(run) / "config.json").read_text())["train"]["num_steps"] == 60
    there, here = (
        checkpoints.read_state(
            checkpoints.find(folder), params=copying.on_one_device(checkpoints.find(folder), "params")
        )
        for folder in (run, tmp_path / "run")
    )
    jax.tree.map(np.testing.assert_array_equal, there, here)


def test_permanent_checkpoints_and_the_newest_are_kept(run: str):
    assert checkpoints.steps(f"{run}/checkpoints") == [25, 50, 60]


def test_tensorboard_files_are_there(run: str):
    files = list((epath.Path(run) / "tensorboard").iterdir())
    assert files
    assert all(file.stat().length > 0 for file in files)


def test_it_tells_stories_from_there(run: str):
    result = sample(run)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()


def test_what_is_not_kept_is_deleted(bucket: str, tiny_data):
    write_steps(bucket, tiny_data.tokenizer, [3, 10, 14], keep_every=10)
    assert checkpoints.steps(bucket) == [10, 14]
    assert sorted(path.name for path in epath.Path(bucket).iterdir()) == ["10", "14"]


def test_a_half_written_step_is_ignored_with_a_word_and_written_again(gcs: Gcs, run: str, tiny_data):
    for name in gcs.names("run/"):
        if not name.startswith("run/checkpoints/60/commit_success"):
            gcs.copy(name, name.replace("run/", "half/", 1))
    folder = run.replace("/run", "/half")
    told = "the checkpoint of step 60"
    result = sample(folder)
    assert result.returncode == 0, result.stderr
    assert result.stderr.count(told) == 1
    assert_refused(sample(f"{folder}/checkpoints/60"), "was not written to its end", "ckpt copy")
    result = binaries.finish(train_on(tiny_data, folder))
    assert result.returncode == 0, result.stderr
    assert "going on after step 50" in result.stderr
    assert result.stderr.count(told) == 1
    assert told not in sample(folder).stderr


# Buckets that are missing, forbidden or out of reach.


def test_a_missing_bucket(gcs: Gcs, tiny_data):
    result = binaries.finish(train_on(tiny_data, "gs://tinyjax-nowhere/run"))
    assert_refused(result, "there is no bucket 'tinyjax-nowhere'")
    assert_refused(sample("gs://tinyjax-nowhere/run"), "gs://tinyjax-nowhere/run")


@pytest.mark.parametrize("verb", ["read", "write", "delete"])
def test_no_permission_is_told_before_the_run_begins(verb: str, gcs: Gcs, bucket: str, tiny_data):
    with gcs.forbidding(f"^{verb} "):
        result = binaries.finish(train_on(tiny_data, bucket))
    assert_refused(result, f"no permission to {verb}", "storage.objectAdmin", f"bucket '{BUCKET}'")
    assert "step 1 " not in result.stderr


def test_no_permission_to_look_into_the_bucket(gcs: Gcs, bucket: str, tiny_data):
    """What a storage.objectAdmin lacks; Orbax asks for the bucket's kind when it saves."""
    with gcs.forbidding(f"^look {BUCKET}/$"):
        result = binaries.finish(train_on(tiny_data, bucket))
    assert_refused(result, "no permission", "storage.legacyBucketReader")


def test_no_permission_to_read_a_checkpoint(gcs: Gcs, run: str):
    with gcs.forbidding("^read "):
        assert_refused(sample(run), "no permission", CALLER, "storage.objects.get", "storage.objectAdmin")
    with gcs.forbidding("^read .*/params/"):
        assert_refused(sample(run), "no permission", CALLER, "storage.objects.get", "storage.objectAdmin")


def test_who_may_only_read_and_list_can_tell_stories(gcs: Gcs, run: str):
    with gcs.forbidding("^(write|delete|look) "):
        result = sample(run)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()


@pytest.mark.parametrize("what", ["ocdbt.process_0", "commit_success.txt", "meta/metadata"])
def test_a_save_that_fails_ends_the_run_at_once(what: str, gcs: Gcs, bucket: str, tiny_data):
    """Long before the next save, of which there would be none for 100,000 steps."""
    arguments = ("--config.train.num_steps=100000", "--config.train.checkpoint_every=40000",
                 "--config.train.checkpoint_minutes=0.02", "--config.train.log_every=50")  # fmt: skip
    with gcs.forbidding(f"^write .*{what}"):
        result = binaries.finish(train_on(tiny_data, bucket, *arguments))
    assert_refused(result, "no permission", bucket)


def test_nobody_there():
    """As the client libraries tell it, after half a minute of trying."""
    expected = r"can't be reached \(Cannot connect to host\); check the network and the credentials"
    with pytest.raises(UserError, match=expected), remote.reached("gs://bucket/run"):
        raise ConnectionError("Cannot connect to host")


def test_credentials_that_are_refused_are_told_from_a_missing_permission():
    expected = r"the credentials are refused at 'gs://bucket/run' \(Invalid Credentials, 401\); log in again"
    with pytest.raises(UserError, match=expected), remote.reached("gs://bucket/run"):
        raise OSError("Invalid Credentials, 401")


# Copies.


def test_copied_there_and_back_it_is_the_same(run: str, bucket: str, tmp_path: pathlib.Path, tiny_run):
    there = copying.copy(tiny_run, bucket)
    assert str(there) == f"{bucket}/200"
    back = copying.copy(there, tmp_path / "back")
    assert binaries.snapshot(tmp_path / "back" / "200") == binaries.snapshot(tiny_run / "checkpoints" / "200")
    assert sample(bucket).stdout == sample(str(tiny_run)).stdout
    assert checkpoints.find(tmp_path / "back") == back


def test_a_copy_that_fails_is_not_there(gcs: Gcs, bucket: str, tiny_run):
    with gcs.forbidding("^write .*opt_state/manifest"), pytest.raises(UserError, match="no permission"):
        copying.copy(tiny_run, bucket)
    assert not gcs.names(bucket.removeprefix(f"gs://{BUCKET}/"))
    copying.copy(tiny_run, bucket)
    with pytest.raises(UserError, match="is there already, and nothing is overwritten"):
        copying.copy(tiny_run, bucket)
