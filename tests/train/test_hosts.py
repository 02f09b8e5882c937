"""Several processes train as one does, end together, and say which of them is missing."""

import concurrent.futures
import contextlib
import dataclasses
import json
import multiprocessing
import os
import pathlib
import shutil
import signal
import socket
import time
from collections.abc import Callable

import jax
import numpy as np
import pytest

from tests import binaries
from tests.tiny import tiny_config
from tests.train.test_loop import evaluations, losses, read_params
from tests.train.test_resume import last_step
from tinyjax.checkpoint import manager as checkpoints
from tinyjax.errors import UserError
from tinyjax.parallel.distributed import Job, joined
from tinyjax.sample.model import load_model
from tinyjax.sample.options import Options
from tinyjax.sample.stories import generate
from tinyjax.train.loop import CHECKPOINTS, train
from tinyjax.train.report import SAMPLES

pytestmark = pytest.mark.alone

# The same sums in another order: those over a process's devices first, then those over the network.
TOLERANCE = 1e-5
STEPS = 40
BOUND = 15.0  # seconds on a busy machine within which the others end


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


# Coming together, which needs no JAX yet.


def come(jobs: list[Job], start_seconds: int = 2) -> list[str]:
    """Lets some processes of a job come, each a thread here; returns what each one was told."""

    def one(job: Job) -> str:
        with pytest.raises(UserError) as error, joined(job, start_seconds=start_seconds):
            pass
        return str(error.value)

    with concurrent.futures.ThreadPoolExecutor() as threads:
        return list(threads.map(one, jobs))


def test_who_does_not_come_is_named_to_all():
    port, host = free_port(), socket.gethostname()
    begin = time.monotonic()
    for told in come([Job(f"127.0.0.1:{port}", 6, number) for number in (0, 2)]):
        assert f"processes 1, 3-5 of 6 did not come; there were 0 ({host}), 2 ({host})." in told
        assert f"let them reach 127.0.0.1:{port}" in told
    assert time.monotonic() - begin < 10


def test_without_process_0_the_others_say_so():
    port = free_port()
    (told,) = come([Job(f"127.0.0.1:{port}", 2, 1)], start_seconds=1)
    assert f"process 0 did not answer at 127.0.0.1:{port} (this is process 1 of 2" in told


def test_processes_of_other_numbers_are_told_apart():
    address = f"127.0.0.1:{free_port()}"
    first, second = come([Job(address, 3, 0), Job(address, 2, 1)])
    assert "this is process 1 of 2, but process 0 was started with --num_processes=3" in second
    assert "processes 1-2 of 3 did not come" in first


def test_a_port_in_use_is_said():
    with socket.create_server(("", 0)) as taken:
        (told,) = come([Job(f"127.0.0.1:{taken.getsockname()[1]}", 2, 0)])
    assert "process 0 can't listen on port" in told


def test_strangers_at_the_port_are_ignored():
    port = free_port()

    def knock() -> None:
        time.sleep(0.5)
        with socket.create_connection(("127.0.0.1", port)) as stranger:
            stranger.sendall(b"GET / HTTP/1.0\n")

    with concurrent.futures.ThreadPoolExecutor() as threads:
        threads.submit(knock)
        (told,) = come([Job(f"127.0.0.1:{port}", 2, 0)])
    assert "process 1 of 2 did not come" in told


@pytest.mark.parametrize(
    ("address", "count", "number", "said"),
    [
        ("host:1", 2, 2, "--process_id is 2"),
        ("host:1", 2, -1, "from 0 to 1"),
        ("host", 2, 0, "HOST:PORT"),
        ("host:", 2, 0, "HOST:PORT"),
    ],
)
def test_a_job_that_makes_no_sense_is_refused(address: str, count: int, number: int, said: str):
    with pytest.raises(UserError, match=said):
        Job(address, count, number)


def _end_late(job: Job, seconds: float) -> None:
    with joined(job, lost_seconds=2):
        time.sleep(seconds)


@pytest.mark.slow
@pytest.mark.parametrize("late", [0, 1])
def test_who_ends_first_waits_for_the_last(late: int):
    """For longer than JAX would, which then aborts the last."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(binaries._IMPORTS)
    port = free_port()
    jobs = [Job(f"127.0.0.1:{port}", 3, number) for number in range(3)]
    processes = [context.Process(target=_end_late, args=(job, 10 * (job.process_id == late))) for job in jobs]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]


# Training.


def config(data: pathlib.Path, steps: int = STEPS):
    return tiny_config(
        data__path=str(data),
        train__num_steps=steps,
        train__eval_every=20,
        train__checkpoint_every=20,
        mesh__replica=4,
        mesh__fsdp=2,
    )


@dataclasses.dataclass
class Group:
    """The processes of a job."""

    folder: pathlib.Path  # each one's output is in a folder below it
    processes: list

    def wait(self, seconds: float = 300) -> list[int | None]:
        """Returns the exit codes."""
        deadline = time.monotonic() + seconds
        for process in self.processes:
            process.join(max(deadline - time.monotonic(), 0))
        return [process.exitcode for process in self.processes]

    def told(self, number: int) -> str:
        """Returns what a process wrote to stderr."""
        return (self.folder / str(number) / "stderr").read_text()

    def signal(self, number: int, signum: int) -> None:
        """Sends a signal to one process."""
        os.kill(self.processes[number].pid, signum)

    def wait_until(self, is_time: Callable[[], bool]) -> None:
        """Waits while all of them live."""
        while not is_time():
            codes = [process.exitcode for process in self.processes]
            assert codes == [None] * len(codes), [self.told(i) for i in range(len(codes))]
            time.sleep(0.005)


def _one(folder: str, devices: int, arguments: list[str]) -> None:
    jax.config.update("jax_num_cpu_devices", devices)
    os.environ["JAX_NUM_CPU_DEVICES"] = str(devices)
    binaries._run(folder, "train", arguments, 0, {})


def start(
    folder: pathlib.Path, count: int, arguments: list[str], own: list[list[str]] | None = None
) -> Group:
    """Starts `count` processes with eight devices together; `own`: what each one is given besides."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(binaries._IMPORTS)
    place = [f"--coordinator=127.0.0.1:{free_port()}", f"--num_processes={count}", "--lost_seconds=10"]
    processes = []
    for number in range(count):
        (folder / str(number)).mkdir(parents=True)
        given = [binaries.CONFIG, *arguments, *place, f"--process_id={number}", *(own[number] if own else [])]
        processes.append(context.Process(target=_one, args=(str(folder / str(number)), 8 // count, given)))
        processes[-1].start()
    return Group(folder, processes)


def flags(data: pathlib.Path, run: pathlib.Path | str) -> list[str]:
    settings = {
        "data.path": data,
        "train.num_steps": STEPS,
        "train.eval_every": 20,
        "train.checkpoint_every": 20,
        "train.sample_prompts": "One day|",
        "train.sample_tokens": 4,
        "mesh.replica": 4,
        "mesh.fsdp": 2,
    }
    return [f"--run_dir={run}", *(f"--config.{name}={value}" for name, value in settings.items())]


@dataclasses.dataclass
class Story:
    """What happened to a run: two processes of which one got SIGTERM, four of which one was killed, two."""

    run: pathlib.Path
    copy: pathlib.Path  # as the killed ones left it
    terminated: Group
    killed: Group
    finished: Group
    seconds: dict[str, float]  # from the signal to the end of all
    steps: list[int]  # of the newest checkpoint after each


@pytest.fixture(scope="module")
def story(tiny_data, tmp_path_factory: pytest.TempPathFactory) -> Story:
    base = tmp_path_factory.mktemp("hosts")
    run, seconds, steps = base / "run", {}, []
    groups = []
    for name, count, victim, signum in (
        ("two", 2, 1, signal.SIGTERM),
        ("four", 4, 2, signal.SIGKILL),
        ("again", 2, None, None),
    ):
        group = start(base / name, count, flags(tiny_data.path, run))
        groups.append(group)
        if victim is not None and signum is not None:
            before = last_step(run)
            group.wait_until(lambda before=before: last_step(run) >= before + 3)
            begin = time.monotonic()
            group.signal(victim, signum)
        group.wait()
        if victim is not None:
            seconds[name] = time.monotonic() - begin
            print(f"{name}: {seconds[name]:.1f} seconds to the end of all")
        if signum == signal.SIGKILL:
            shutil.copytree(run, base / "copy")
        steps.append(checkpoints.steps(run / CHECKPOINTS)[-1])
    return Story(run, base / "copy", *groups, seconds, steps)


@pytest.fixture(scope="module")
def alone(tiny_data, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The same run by one process with eight devices."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    train(config(tiny_data.path), folder)
    return folder


@pytest.mark.slow
def test_all_stop_at_one_step_though_one_got_the_signal(story: Story):
    assert [process.exitcode for process in story.terminated.processes] == [42, 42]
    for number in (0, 1):
        said = f"stopped by SIGTERM after step {story.steps[0]}; a checkpoint was written"
        assert said in story.terminated.told(number)
    assert story.seconds["two"] < BOUND


@pytest.mark.slow
def test_the_others_end_when_one_is_killed_and_name_it(story: Story):
    assert [process.exitcode for process in story.killed.processes] == [43, 43, -signal.SIGKILL, 43]
    for number in (0, 1, 3):
        told = story.killed.told(number)
        assert f"error: process 2 of 4 ({socket.gethostname()}) is gone; this process ends too." in told
        assert "Traceback" not in told
    assert story.seconds["four"] < BOUND


@pytest.mark.slow
def test_four_go_on_where_two_stopped(story: Story):
    assert f"going on after step {story.steps[0]}" in story.killed.told(0)
    assert "mesh: replica 4 x fsdp 2, 4 processes" in story.killed.told(0)
    assert f"going on after step {story.steps[1]}" in story.finished.told(0)


@pytest.mark.slow
def test_the_losses_are_those_of_one_process(story: Story, alone: pathlib.Path):
    assert [process.exitcode for process in story.finished.processes] == [0, 0]
    assert list(losses(story.run)) == list(losses(alone))
    np.testing.assert_allclose(list(losses(story.run).values()), list(losses(alone).values()), rtol=TOLERANCE)
    assert evaluations(story.run).keys() == evaluations(alone).keys()


@pytest.mark.slow
def test_they_tell_the_stories_of_the_parameters_that_they_share(story: Story):
    lines = [json.loads(line) for line in (story.run / SAMPLES).read_text().splitlines()]
    assert [(line["step"], line["prompt"]) for line in lines] == [
        (s, p) for s in (20, 40) for p in ("One day", "")
    ]
    wanted = generate(load_model(story.run), ["One day", ""], options=Options(max_tokens=4))
    assert [line["story"] for line in lines[2:]] == [c.prompt + c.text for c in wanted]


@pytest.mark.slow
def test_one_process_goes_on_where_several_stopped(tiny_data, story: Story, alone: pathlib.Path):
    train(config(tiny_data.path), story.copy)
    np.testing.assert_allclose(
        list(losses(story.copy).values()), list(losses(alone).values()), rtol=TOLERANCE
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
        read_params(story.copy),
        read_params(alone),
    )


@pytest.mark.slow
def test_the_first_process_alone_tells(story: Story):
    for group in (story.terminated, story.killed, story.finished):
        assert "model: 0.03M parameters" in group.told(0)
        for number in range(1, len(group.processes)):
            assert "loss" not in group.told(number)
            assert "model:" not in group.told(number)


@pytest.mark.slow
def test_a_folder_that_is_not_shared_is_refused(tiny_data, tmp_path: pathlib.Path):
    """Relative to the two processes' own working folders."""
    group = start(tmp_path, 2, flags(tiny_data.path, "run"))
    assert group.wait(120) == [2, 2]
    for number in (0, 1):
        assert "'run' is not the same folder for all processes: process 1 can't see" in group.told(number)
    with contextlib.suppress(FileNotFoundError):
        assert not list((tmp_path / "0" / "run").iterdir())
    assert not (tmp_path / "1" / "run").exists()


@pytest.mark.slow
def test_processes_with_other_settings_are_refused(tiny_data, tmp_path: pathlib.Path):
    own = [[], ["--config.train.seed=1"]]
    group = start(tmp_path, 2, flags(tiny_data.path, tmp_path / "run"), own)
    assert group.wait(120) == [2, 2]
    for number in (0, 1):
        assert "the settings or the data of process 1 differ from those of process 0" in group.told(number)


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_an_error_of_one_is_told_by_the_other(number: int, tiny_data, tmp_path: pathlib.Path):
    own = [["--config.data.path=nowhere"] if i == number else [] for i in range(2)]
    group = start(tmp_path, 2, flags(tiny_data.path, tmp_path / "run"), own)
    codes = group.wait(120)
    assert (codes[number], codes[1 - number]) == (2, 43)
    name = f"process {number} of 2 ({socket.gethostname()})"
    said = f"error: {name} ended: no prepared stories at 'nowhere'"
    assert said in group.told(1 - number)
    assert "no prepared stories at 'nowhere'" in group.told(number)
    assert "Traceback" not in group.told(0) + group.told(1)
