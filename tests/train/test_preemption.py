"""Told to stop or killed at any moment, twenty times over, a run loses nothing that a checkpoint held."""

import dataclasses
import multiprocessing
import os
import pathlib
import random
import re
import signal
import time

import jax
import numpy as np
import pytest

from tests import binaries
from tests.tiny import tiny_config
from tests.train.test_loop import evaluations, losses, read_params
from tinyjax.checkpoint import manager as checkpoints
from tinyjax.errors import Stopped
from tinyjax.train import loop, validation
from tinyjax.train.loop import CHECKPOINTS, train, watch_signals

pytestmark = pytest.mark.alone

KILLS = 20
EVERY = 10  # steps between checkpoints
BOUND = 15.0  # seconds on a busy machine, from SIGTERM to the end


@dataclasses.dataclass
class Killed:
    """What one signal did."""

    signum: int
    exit_code: int | None
    seconds: float  # from the signal to the end
    told: str
    seen: int  # the newest step in the metrics when it was sent
    checkpoints: list[int]  # before and after: the newest step of each


def start(folder: pathlib.Path, data: pathlib.Path, run: pathlib.Path):
    """Starts the binary, forked from a process that has imported nearly all."""
    folder.mkdir()
    arguments = [
        binaries.CONFIG,
        f"--config.data.path={data}",
        f"--run_dir={run}",
        f"--config.train.checkpoint_every={EVERY}",
    ]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(binaries._IMPORTS)
    process = context.Process(target=binaries._run, args=(str(folder), "train", arguments, 0, {}))
    process.start()
    return process


def newest(run: pathlib.Path) -> int:
    return max(checkpoints.steps(run / CHECKPOINTS), default=0)


def told_step(folder: pathlib.Path) -> int:
    """The last step that a process has told of; 0 before that."""
    told = folder / "stderr"
    found = re.findall(r"step (\d+)  loss", told.read_text()) if told.exists() else []
    return int(found[-1]) if found else 0


def handles_sigterm(pid: int) -> bool:
    """Whether a process has come so far, on its way from the start, that SIGTERM no longer ends it."""
    (caught,) = re.findall(r"SigCgt:\s*(\w+)", pathlib.Path(f"/proc/{pid}/status").read_text())
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


def kill(folder: pathlib.Path, data: pathlib.Path, run: pathlib.Path, signum: int, moment: float) -> Killed:
    """Starts the run, and sends it a signal so many steps later, or (0 to 1) seconds after its very start."""
    before = newest(run)
    process = start(folder, data, run)
    assert process.pid is not None
    if moment <= 1:
        while not handles_sigterm(process.pid):
            time.sleep(0.002)
        time.sleep(moment)
    while moment > 1 and told_step(folder) < before + moment:
        assert process.is_alive(), (folder / "stderr").read_text()
        time.sleep(0.002)
    seen, begin = told_step(folder), time.monotonic()
    os.kill(process.pid, signum)
    process.join(120)
    seconds = time.monotonic() - begin
    told = (folder / "stderr").read_text()
    return Killed(signum, process.exitcode, seconds, told, seen, [before, newest(run)])


@dataclasses.dataclass
class Story:
    """A run that was killed again and again, and then finished."""

    run: pathlib.Path
    kills: list[Killed]


@pytest.fixture(scope="module")
def story(tiny_data, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Each signal comes some steps after the checkpoint that it began from, or while it starts."""
    base, rng, kills = tmp_path_factory.mktemp("killed"), random.Random(0), []
    run = base / "run"
    for number in range(KILLS):
        signum = (signal.SIGTERM, signal.SIGKILL)[number % 2]
        moment = rng.random() if number % 5 == 4 else 1 + rng.randint(1, 11)
        kills.append(kill(base / str(number), tiny_data.path, run, signum, moment))
    train(tiny_config(data__path=str(tiny_data.path)), run)
    for signum in (signal.SIGTERM, signal.SIGKILL):
        took = sorted(k.seconds for k in kills if k.signum == signum)
        print(f"{signum.name}: {took[len(took) // 2]:.2f} s to the end, at most {took[-1]:.2f} s")
    return Story(run, kills)


@pytest.mark.slow
def test_every_process_ended_by_its_signal(story: Story):
    assert len(story.kills) == KILLS
    for killed in story.kills:
        assert killed.exit_code == {signal.SIGTERM: 42, signal.SIGKILL: -9}[signal.Signals(killed.signum)], (
            killed
        )
        assert "Traceback" not in killed.told
        assert killed.seconds < BOUND


@pytest.mark.slow
def test_sigterm_loses_no_step(story: Story):
    for killed in story.kills:
        if said := re.search(r"stopped by SIGTERM after step (\d+); a checkpoint was written", killed.told):
            assert killed.checkpoints[1] == int(said[1]) >= killed.seen
    assert sum("a checkpoint was written" in killed.told for killed in story.kills) >= KILLS // 2 - 2


@pytest.mark.slow
def test_sigkill_loses_only_what_came_after_the_last_checkpoint(story: Story):
    for killed in story.kills:
        before, after = killed.checkpoints
        assert after >= before
        # The one that was being written may be lost too.
        assert after >= max(before, killed.seen // EVERY * EVERY - EVERY)


@pytest.mark.slow
def test_it_ends_as_if_nothing_had_been(story: Story, tiny_run: pathlib.Path):
    assert losses(story.run) == losses(tiny_run)
    assert evaluations(story.run) == evaluations(tiny_run)
    jax.tree.map(np.testing.assert_array_equal, read_params(story.run), read_params(tiny_run))
    assert newest(story.run) == 200


# Without processes: signals sent to this one.


def signal_at(monkeypatch: pytest.MonkeyPatch, where: str, signum: int) -> None:
    """Sends this process a signal when it comes to the function `where` of the loop."""
    original = getattr(loop, where)

    def signalled(*args, **kwargs):
        signal.raise_signal(signum)
        return original(*args, **kwargs)

    monkeypatch.setattr(loop, where, signalled)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["prepare_run", "resume", "describe", "compile_step"])
def test_a_signal_before_the_first_step_leaves_a_checkpoint(
    where: str, tiny_data, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    """It opens data, restores, prepares to compile: the signal waits for the first moment to save."""
    signal_at(monkeypatch, where, signal.SIGTERM)
    with pytest.raises(Stopped, match="stopped by SIGTERM after step 0; a checkpoint was written"):
        train(tiny_config(data__path=str(tiny_data.path)), tmp_path / "run")
    assert checkpoints.steps(tmp_path / "run" / CHECKPOINTS) == [0]
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("evaluation", "said", "left"),
    [
        (1, "after step 10; a checkpoint was written", [10]),
        (2, "in an evaluation; there is a checkpoint", [20]),
    ],
)
def test_a_signal_in_an_evaluation_ends_it(
    evaluation: int, said: str, left: list[int], tiny_data, tmp_path: pathlib.Path, monkeypatch
):
    """The first is on the way, the second at the end."""
    config = tiny_config(
        data__path=str(tiny_data.path), data__batch_size=8, train__num_steps=20, train__eval_every=10
    )
    undisturbed, scored = tmp_path / "undisturbed", []
    train(config, undisturbed)
    original = validation.sums_of_stories

    def signalled(scores, params, batches, mesh):
        scored.append(1)
        if len(scored) == evaluation:
            signal.raise_signal(signal.SIGTERM)
        return original(scores, params, batches, mesh)

    monkeypatch.setattr(validation, "sums_of_stories", signalled)
    with pytest.raises(Stopped, match=said):
        train(config, tmp_path / "run")
    assert checkpoints.steps(tmp_path / "run" / CHECKPOINTS) == left
    assert len(evaluations(tmp_path / "run")) == evaluation - 1  # it told nothing
    train(config, tmp_path / "run")
    assert evaluations(tmp_path / "run") == evaluations(undisturbed)
    assert losses(tmp_path / "run") == losses(undisturbed)


def test_signals_are_noted_and_handlers_restored():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with watch_signals() as stop:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert stop.signum == 0  # until it is asked for
        stop.ask()
        assert stop.signum == signal.SIGTERM
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_what_is_asked_for_comes_back_at_once_where_there_is_one_process():
    with watch_signals() as stop:
        assert stop.ask(overdue=True, decided=7) == (True, 7)
        assert stop.ask(overdue=False, decided=9) == (False, 9)


def test_a_second_ctrl_c_ends_at_once():
    """The first is noted; the second goes to the system, so also in the midst of a computation."""
    with watch_signals() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.caught == signal.SIGINT
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
