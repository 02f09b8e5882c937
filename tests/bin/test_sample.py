"""The sample binary: stories from a checkpoint alone, and one line for each mistake."""

import pathlib
import shutil

import pytest

from tests import binaries
from tests.binaries import assert_refused, snapshot
from tinyjax.sample.engine import generate, load_model
from tinyjax.sample.options import Options


@pytest.fixture
def checkpoint(tiny_run: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """A copy of the newest step, where nothing else is."""
    return pathlib.Path(shutil.copytree(tiny_run / "checkpoints" / "200", tmp_path / "copied" / "200"))


def test_it_prints_what_the_library_tells(checkpoint: pathlib.Path, tmp_path: pathlib.Path):
    before = snapshot(checkpoint)
    flags = [
        "--num_samples=2",
        "--seed=5",
        "--temperature=0.9",
        "--top_k=50",
        "--top_p=0.9",
        "--max_tokens=9",
    ]
    result = binaries.run(
        tmp_path, "sample", f"--checkpoint={checkpoint}", "--prompt=Lily", "--prompt=Tom saw", *flags
    )
    assert result.returncode == 0, result.stderr
    stories = generate(
        load_model(checkpoint),
        ["Lily", "Tom saw"],
        num_samples=2,
        max_tokens=9,
        seed=5,
        options=Options(0.9, 50, 0.9),
    )
    wanted = "".join(
        f"--- story {i} of 4\n{s.prompt}{s.text}{'' if s.finish == 'end' else ' [...]'}\n"
        for i, s in enumerate(stories, 1)
    )
    assert result.stdout == wanted
    assert snapshot(checkpoint) == before


@pytest.mark.slow
def test_from_nothing_a_story_alone_on_standard_output(checkpoint: pathlib.Path):
    result = binaries.finish(binaries.start("sample", f"--checkpoint={checkpoint}", "--temperature=0"))
    assert result.returncode == 0, result.stderr
    (story,) = generate(load_model(checkpoint), [""], options=Options(0.0))
    assert result.stdout == f"{story.text}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--checkpoint is missing"),
        (["--checkpoint=nowhere"], "no checkpoint at 'nowhere': no such folder"),
        (["--checkpoint=."], "no complete checkpoint in '.'"),
        (["--checkpoint=file"], "no complete checkpoint in 'file'"),
        (["--checkpoint=copied/200", "--temperature=-1"], "--temperature is -1.0"),
        (["--checkpoint=copied/200", "--top_p=0"], "--top_p is 0.0"),
        (["--checkpoint=copied/200", "--num_samples=0"], "num_samples"),
        (["--checkpoint=copied/200", "--max_tokens=many"], "max_tokens"),
        (["--checkpoint=copied/200", "--seed=4294967296"], "seed"),
        (
            ["--checkpoint=copied/200", f"--prompt={'Lily saw a boat. ' * 20}"],
            "the model's context is 64; shorten it",
        ),
        (["--chekpoint=copied"], "Did you mean: checkpoint"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], said: str, checkpoint, tmp_path: pathlib.Path):
    (tmp_path / "file").write_text("mine")
    assert_refused(binaries.run(tmp_path, "sample", *arguments), said)


def test_a_damaged_checkpoint_is_one_line(checkpoint: pathlib.Path, tmp_path: pathlib.Path):
    for file in (checkpoint / "params").glob("**/d/*"):
        file.write_bytes(file.read_bytes()[:1000])
    before = snapshot(checkpoint)
    assert_refused(binaries.run(tmp_path, "sample", "--checkpoint=copied"), "can't be read", "copy it again")
    assert snapshot(checkpoint) == before
