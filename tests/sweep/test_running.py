"""Members run one after the other as processes; what happens to one, and to signals, is told."""

import dataclasses
import fcntl
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest
from etils import epath

from tests.tiny import tiny_config
from tinyjax.cache import cache_entry
from tinyjax.errors import Stopped
from tinyjax.sweep.running import LOCKS, run_all
from tinyjax.sweep.task import Task


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


def task(folder: pathlib.Path, name: str, code: str) -> Task:
    return Task(name, tiny_config(), 1, epath.Path(folder / "sweep" / name), "", python(code))


def run(*tasks: Task) -> tuple[dict[str, str], list[str]]:
    """What failed, and what was told."""
    told: list[str] = []
    return run_all(tasks, lambda task: [], told.append), told


def touch(path: pathlib.Path) -> str:
    return f"import pathlib; pathlib.Path({str(path)!r}).touch()"


def test_one_that_fails_is_told_and_the_others_go_on(tmp_path: pathlib.Path):
    failed, told = run(
        task(tmp_path, "a", touch(tmp_path / "a")),
        task(tmp_path, "b", "raise SystemExit(7)"),
        task(tmp_path, "c", touch(tmp_path / "c")),
    )
    assert failed == {"b": "failed with exit code 7"}
    assert told == ["1 of 3: a", "2 of 3: b", "b failed with exit code 7", "3 of 3: c"]
    assert (tmp_path / "a").exists()
    assert (tmp_path / "c").exists()


def test_what_follows_on_a_failed_training_is_not_done(tmp_path: pathlib.Path):
    evaluations = {"a": [python(touch(tmp_path / "a"))], "b": [python(touch(tmp_path / "b"))]}
    tasks = [task(tmp_path, "a", "raise SystemExit(7)"), task(tmp_path, "b", "")]
    failed = run_all(tasks, lambda task: evaluations[task.name], lambda line: None)
    assert list(failed) == ["a"]
    assert not (tmp_path / "a").exists()
    assert (tmp_path / "b").exists()


def test_a_member_that_another_process_trains_is_left_to_it(tmp_path: pathlib.Path):
    (tmp_path / "sweep" / LOCKS).mkdir(parents=True)
    with open(tmp_path / "sweep" / LOCKS / "a", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        failed, _ = run(task(tmp_path, "a", touch(tmp_path / "a")), task(tmp_path, "b", ""))
    assert failed == {"a": "is being trained by another process"}
    assert not (tmp_path / "a").exists()


def test_on_gs_a_member_is_left_to_another_process_of_this_machine(
    bucket: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    member = dataclasses.replace(task(tmp_path, "a", touch(tmp_path / "a")), folder=epath.Path(bucket) / "a")
    locks = cache_entry("locks", epath.Path(bucket))
    locks.mkdir(parents=True)
    with open(locks / "a", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        failed, _ = run(member)
    assert failed == {"a": "is being trained by another process"}
    assert not run(member)[0]
    assert (tmp_path / "a").exists()


@pytest.mark.slow
def test_a_member_stays_its_process_s_own_when_the_sweep_is_killed(tmp_path: pathlib.Path):
    """The member sleeps on; a sweep that is started again doesn't train into the same folder."""
    sleeping = f"{touch(tmp_path / 'begun')}; import time; time.sleep(60)"
    code = (
        "import pathlib\nfrom tests.sweep.test_running import run, task\n"
        f"run(task(pathlib.Path({str(tmp_path)!r}), 'a', {sleeping!r} + {'; print(1)'!r}))"
    )
    sweep = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    wait_for(tmp_path / "begun")
    member = children(sweep.pid)
    sweep.kill()
    sweep.wait()
    try:
        failed, _ = run(task(tmp_path, "a", ""))
        assert failed == {"a": "is being trained by another process"}
    finally:
        for pid in member:
            subprocess.run(["kill", "-9", str(pid)], check=True)


def children(pid: int) -> list[int]:
    found = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    assert found
    return [int(child) for child in found]


def wait_for(path: pathlib.Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not come"
        time.sleep(0.01)


CATCHING = """
import pathlib, signal, sys, time
def caught(number, _):
    pathlib.Path({told!r}).write_text(pathlib.Path({told!r}).read_text() + f"{{number}} ")
    time.sleep(0.3)
    sys.exit({code})
signal.signal({signum}, caught)
pathlib.Path({told!r}).touch()
time.sleep(20)
"""


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_goes_to_the_member_once_which_saves_and_the_sweep_stops(
    tmp_path: pathlib.Path, signum: int
):
    told = tmp_path / "told"
    catching = CATCHING.format(told=str(told), code=42, signum=int(signum))

    def send() -> None:
        wait_for(told)
        os.kill(os.getpid(), signum)

    sender = threading.Thread(target=send)
    sender.start()
    with pytest.raises(Stopped, match=signal.Signals(signum).name):
        run(task(tmp_path, "a", catching), task(tmp_path, "b", touch(tmp_path / "b")))
    sender.join()
    assert told.read_text() == f"{int(signum)} "
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(("code", "signum"), [(42, signal.SIGTERM), (130, signal.SIGINT)])
def test_a_member_that_was_told_to_stop_stops_the_sweep(tmp_path: pathlib.Path, code: int, signum: int):
    """As on a machine that goes away: the next member would be stopped too."""
    with pytest.raises(Stopped) as stopped:
        run(task(tmp_path, "a", f"raise SystemExit({code})"), task(tmp_path, "b", touch(tmp_path / "b")))
    assert stopped.value.signum == signum
    assert not (tmp_path / "b").exists()
