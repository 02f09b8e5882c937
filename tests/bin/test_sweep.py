"""The sweep binary: killed it goes on, one that fails keeps no other from its end, and it shows results."""

import dataclasses
import json
import pathlib
import shlex
import signal
import subprocess
import sys
import time

import pytest

from tests import binaries
from tests.binaries import ROOT, assert_refused
from tests.train.test_loop import evaluations, losses
from tinyjax.checkpoint import manager as checkpoints
from tinyjax.train.loop import CHECKPOINTS

SWEEPS = "tests/sweep/tiny_sweeps.py"


@dataclasses.dataclass
class Story:
    """A sweep that was killed; one model was then trained by its printed command, the others by going on."""

    out: pathlib.Path
    killed: subprocess.CompletedProcess[str]
    printed: subprocess.CompletedProcess[str]
    pasted: subprocess.CompletedProcess[str]
    finished: subprocess.CompletedProcess[str]
    after: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module", autouse=True)
def found_by_trainers():
    """Trainers look for modules where they are installed only, and the sweeps here import some of tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        yield


@pytest.fixture(scope="module")
def story(tiny_data, tmp_path_factory: pytest.TempPathFactory) -> Story:
    out = tmp_path_factory.mktemp("sweep") / "my sweep"
    arguments = [
        "sweep",
        f"--sweep={ROOT}/tests/sweep/tiny_sweeps.py:killed",
        f"--data={tiny_data.path}",
        f"--out={out}",
    ]
    process = binaries.start(*arguments)
    while not checkpoints.steps(out / "whole" / CHECKPOINTS):
        assert process.poll() is None, binaries.finish(process)
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    killed = binaries.finish(process)
    printed = binaries.run(out.parent, *arguments, "--print")
    short = printed.stdout.splitlines()[-1]
    pasted = subprocess.run(short, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=300)
    finished = binaries.finish(binaries.start(*arguments))
    after = binaries.run(out.parent, *arguments, "--print")
    return Story(out, killed, printed, pasted, finished, after)


@pytest.mark.slow
def test_a_killed_sweep_saves_and_says_that_it_goes_on(story: Story):
    assert story.killed.returncode == 42
    assert "stopped by SIGTERM" in story.killed.stderr
    assert "the same command goes on from there" in story.killed.stderr
    assert "Traceback" not in story.killed.stderr


@pytest.mark.slow
def test_it_prints_a_command_for_each_model_that_is_left(story: Story):
    commands = [shlex.split(line) for line in story.printed.stdout.splitlines()]
    assert [command[-1] for command in commands] == [
        f"--run_dir={story.out / name}" for name in ("whole", "broken", "short")
    ]
    assert all(command[0] == sys.executable and "tinyjax.bin.train" in command for command in commands)


@pytest.mark.slow
def test_a_printed_command_can_be_pasted(story: Story):
    assert story.pasted.returncode == 0, story.pasted.stderr
    assert checkpoints.steps(story.out / "short" / CHECKPOINTS)


@pytest.mark.slow
def test_it_goes_on_to_what_an_undisturbed_run_comes_to(story: Story, tiny_run: pathlib.Path):
    assert losses(story.out / "whole") == losses(tiny_run)
    assert evaluations(story.out / "whole") == evaluations(tiny_run)


@pytest.mark.slow
def test_one_that_fails_is_told_and_the_others_are_trained(story: Story):
    told = story.finished.stderr
    assert story.finished.returncode == 4, told
    assert "config.mesh" in told  # training's own message
    assert "broken failed with exit code 2" in told
    assert "3 of 3: short is there" in told
    assert told.endswith("1 of 3 models failed: broken; the same command tries them again\n")


@pytest.mark.slow
def test_only_what_failed_is_left(story: Story):
    (line,) = story.after.stdout.splitlines()
    assert shlex.split(line)[-1] == f"--run_dir={story.out / 'broken'}"


@pytest.mark.slow
def test_it_shows_what_there_is(story: Story):
    values = json.loads((story.out / "sweep.json").read_text())
    assert [one["name"] for one in values["results"]] == ["whole", "short"]
    assert values["missing"] == ["broken"]
    table = (story.out / "sweep.md").read_text()
    assert table in story.finished.stdout
    assert "| 32 x 2 | 4 |" in table
    assert "<svg" in (story.out / "sweep.html").read_text()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sweep": ""}, "--sweep is missing"),
        ({"data": ""}, "--data is missing"),
        ({"out": ""}, "--out is missing"),
        ({"sweep": "nowhere.py"}, "no file of sweeps at 'nowhere.py'"),
        ({"sweep": f"{ROOT}/configs/quickstart.py"}, "has no SWEEPS and get_config(name)"),
        ({"sweep": f"{ROOT}/{SWEEPS}:kiled"}, "no sweep 'kiled' in"),
        ({"sweep": f"{ROOT}/{SWEEPS}:timed"}, "'timed' trains for 1 minutes"),
        ({"data": "nowhere"}, "no prepared stories at 'nowhere'"),
        ({"set": "train.steps=3"}, "unknown config key 'config.train.steps'"),
        ({"shard": "0/3"}, "--shard is '0/3'; give I/N"),
        ({"shard": "4/3"}, "--shard is '4/3'; give I/N"),
        ({"shard": "half"}, "--shard is 'half'; give I/N"),
        ({"evaluated": "first"}, "evaluated"),
    ],
)
def test_a_mistake_in_the_call_is_one_line(
    tmp_path: pathlib.Path, tiny_data, changes: dict[str, str], said: str
):
    flags = {"sweep": f"{ROOT}/{SWEEPS}", "data": str(tiny_data.path), "out": "out"} | changes
    arguments = [f"--{name}={value}" for name, value in flags.items()]
    assert_refused(binaries.run(tmp_path, "sweep", *arguments), said)
    assert not (tmp_path / "out").exists()


def test_shards_have_every_model_once(tmp_path: pathlib.Path, tiny_data):
    printed = [
        binaries.run(
            tmp_path, "sweep", f"--sweep={ROOT}/{SWEEPS}", f"--data={tiny_data.path}", "--out=out", "--print",
            f"--shard={number}/2", "--evaluate=loss,probes", "--set=train.seed=3",
        ).stdout.splitlines()
        for number in (1, 2)
    ]  # fmt: skip
    assert [len(lines) for lines in printed] == [2, 1]
    for line in [*printed[0], *printed[1]]:
        train, evaluate = line.split(" && ")
        assert "--config.train.seed=3" in train
        assert "-m tinyjax.bin.evaluate" in evaluate
        assert "--parts=loss --parts=probes" in evaluate
    assert not (tmp_path / "out").exists()


def test_the_script_runs_where_it_is_called_with_all_its_flags(tmp_path: pathlib.Path):
    root = tmp_path / "a project"
    for name, text in {
        "launch/sweep": (ROOT / "launch" / "sweep").read_text(),
        "tools/setup": "#!/bin/sh\nexit 0\n",
        ".venv/bin/python": '#!/bin/sh\npwd; for argument; do echo "$argument"; done; exit 4\n',
    }.items():
        path = root / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
        path.chmod(0o755)
    done = subprocess.run(
        [root / "launch" / "sweep", "--out=my sweep"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout.splitlines() == [str(tmp_path), "-P", "-m", "tinyjax.bin.sweep", "--out=my sweep"]
    assert done.returncode == 4
