"""The ckpt binary: what it prints, and one line where something is wrong."""

import pathlib
import shutil
import subprocess

import pytest

from tests import binaries
from tests.binaries import CONFIG, assert_refused, snapshot


def ckpt(folder: pathlib.Path, *words: object) -> subprocess.CompletedProcess[str]:
    return binaries.run(folder, "ckpt", *map(str, words))


def printed(folder: pathlib.Path, *words: object) -> list[str]:
    result = ckpt(folder, *words)
    assert result.returncode == 0, result.stderr
    assert not result.stderr
    return result.stdout.splitlines()


@pytest.fixture
def run(tiny_run: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """A copy of the trained run that a test may change."""
    return pathlib.Path(shutil.copytree(tiny_run, tmp_path / "run"))


def test_ls_tells_steps_bytes_dates_and_what_is_half_written(run: pathlib.Path, tmp_path: pathlib.Path):
    newest = run / "checkpoints" / "200"
    size = sum(len(data) for data in snapshot(newest).values())
    newest.rename(f"{newest}.orbax-checkpoint-tmp")
    lines = printed(tmp_path, "ls", run)
    assert [line.split()[0] for line in lines[1:]] == ["50", "100", "150", "200"]
    assert lines[-1].split()[1] == f"{size:,}"
    assert lines[-1].endswith("half written, ignored")
    assert all(line.split()[2].count("-") == 2 for line in lines[1:-1])
    assert printed(tmp_path, "ls", run / "checkpoints") == lines


def test_show_tells_what_it_is(tiny_run: pathlib.Path, tmp_path: pathlib.Path, tiny_data):
    text = "\n".join(printed(tmp_path, "show", tiny_run))
    assert f"checkpoint: {tiny_run}/checkpoints/200" in text
    assert '"d_model": 32' in text
    assert "step: 200 of 200" in text
    assert "tokens: at most 102,400" in text  # 200 steps of 8 windows of 64
    assert tiny_data.tokenizer.sha256 in text
    assert "orbax-checkpoint 0." in text
    assert "layers/down                    4,096  2 x 64 x 32" in text
    assert text.endswith("parameters                    28,832")


@pytest.mark.slow
def test_a_copy_is_read_like_the_original(tiny_run: pathlib.Path, tmp_path: pathlib.Path):
    assert printed(tmp_path, "copy", tiny_run, "copies") == ["copied to copies/200; all checksums are right"]
    assert snapshot(tmp_path / "copies" / "200") == snapshot(tiny_run / "checkpoints" / "200")
    assert printed(tmp_path, "diff", tiny_run, "copies") == ["no difference"]
    before = snapshot(tmp_path / "copies")
    assert_refused(ckpt(tmp_path, "copy", tiny_run, "copies"), "is there already, and nothing is overwritten")
    assert snapshot(tmp_path / "copies") == before
    printed(tmp_path, "copy", tiny_run / "checkpoints" / "50", "copies")
    assert [line.split()[0] for line in printed(tmp_path, "ls", "copies")[1:]] == ["50", "200"]


@pytest.mark.slow
@pytest.mark.parametrize("item", ["params", "opt_state"])
def test_a_damaged_checkpoint_is_not_copied(item: str, run: pathlib.Path, tmp_path: pathlib.Path):
    for file in (run / "checkpoints" / "200" / item).glob("**/d/*"):
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 0x10
        file.write_bytes(data)
    assert_refused(ckpt(tmp_path, "copy", run, "copies"), "can't be read")
    assert not list((tmp_path / "copies").iterdir())


@pytest.mark.slow
def test_diff_tells_settings_and_parameters(tiny_run: pathlib.Path, tmp_path: pathlib.Path, tiny_data):
    lines = printed(tmp_path, "diff", tiny_run, tiny_run / "checkpoints" / "150")
    assert lines[0] == "step: 200 and 150"
    assert len(lines) == 12  # and each of the 11 parameters
    assert all(" differs by at most " in line for line in lines[1:])
    shorter = binaries.run(
        tmp_path, "train", CONFIG, f"--config.data.path={tiny_data.path}", "--run_dir=other",
        "--config.model.d_ff=96", "--config.model.qk_norm=true", "--config.train.num_steps=2",
    )  # fmt: skip
    assert shorter.returncode == 0, shorter.stderr
    text = "\n".join(printed(tmp_path, "diff", tiny_run, "other"))
    assert "config.model.d_ff: 64 and 96" in text
    assert "config.train.num_steps: 200 and 2" in text
    assert "parameters: layers/up is 2 x 32 x 64 in the first, 2 x 32 x 96 in the second" in text
    assert "parameters: layers/key_norm is only in the second" in text
    assert "parameters: embedding differs by at most " in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "a command is missing; give one of: ls RUN; show CHECKPOINT; copy CHECKPOINT FOLDER; diff"),
        (["sow", "x"], "unknown command 'sow' (did you mean 'show'?)"),
        (["copy", "x"], "copy takes 2 path(s): copy CHECKPOINT FOLDER"),
        (["ls", "nowhere"], "there are no checkpoints in 'nowhere'"),
        (["show", "nowhere"], "there is no checkpoint at 'nowhere'"),
        (["diff", "nowhere", "nowhere"], "there is no checkpoint at 'nowhere'"),
        (["copy", "nowhere", "here"], "there is no checkpoint at 'nowhere'"),
        (["ls", "x", "--forse"], "Unknown command line flag 'forse'"),
    ],
)
def test_a_mistake_in_the_call_is_one_line(words: list[str], said: str, tmp_path: pathlib.Path):
    assert_refused(ckpt(tmp_path, *words), said)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stderr", "stdout"]


def test_help_tells_the_commands(tmp_path: pathlib.Path):
    result = ckpt(tmp_path, "--help")
    assert "ckpt copy runs/first gs://bucket/first" in result.stdout
