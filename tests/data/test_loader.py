"""The batch of a step is a pure function: of no start, number of workers or split over hosts."""

import itertools
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import grain
import numpy as np
import psutil
import pytest
from absl import flags

from tests.conftest import ROOT
from tinyjax.data import loader
from tinyjax.data.curriculum import first_epoch
from tinyjax.data.mixture import Shares

pytestmark = pytest.mark.alone


class Numbers:
    """A source whose window i holds first + i everywhere; remembers which windows were read."""

    def __init__(self, count: int, first: int = 0):
        self.count = count
        self.first = first
        self.read: list[int] = []

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> loader.Window:
        self.read.append(index)
        names = ("inputs", "targets", "segments", "weights")
        return {name: np.full(2, self.first + index, np.int32) for name in names}


def mixed(*sources: Numbers) -> loader.Draws:
    """Both kinds of sources, with and without a curriculum, in shares of 5 to 3."""
    ramped = loader.draw_epochs(sources[0], 5, first_epoch(np.arange(len(sources[0])) % 4, 12, 5))
    return grain.MapDataset.select_from_datasets([ramped, loader.draw_epochs(sources[1], 6)], Shares([5, 3]))


DRAWS = {
    "one": lambda: loader.draw_epochs(Numbers(30), 5),
    "curriculum": lambda: loader.draw_epochs(Numbers(30), 5, first_epoch(np.arange(30) % 4, 12, 5)),
    "mixture": lambda: mixed(Numbers(30), Numbers(20, 1000)),
}
each_kind_of_draws = pytest.mark.parametrize("kind", DRAWS)


def take(draws: loader.Draws, count: int, batch_size: int = 4, **options) -> list[list[int]]:
    with loader.train_batches(draws, batch_size, **options) as batches:
        return [batch["inputs"][:, 0].tolist() for batch in itertools.islice(batches, count)]


def steps(source, count: int, batch_size: int = 4, seed: int = 0, **options) -> list[list[int]]:
    return take(loader.draw_epochs(source, seed), count, batch_size, **options)


def test_each_epoch_holds_every_window_once_in_another_order():
    seen = list(itertools.chain(*steps(Numbers(30), 15)))
    first, second = seen[:30], seen[30:]
    assert sorted(first) == sorted(second) == list(range(30))
    assert first != second


def test_seed_decides_the_order():
    assert steps(Numbers(30), 9) == steps(Numbers(30), 9)
    assert steps(Numbers(30), 9) != steps(Numbers(30), 9, seed=1)
    epochs = [tuple(itertools.chain(*steps(Numbers(32), 8, seed=seed))) for seed in range(20)]
    assert len(set(epochs)) == 20


def test_a_first_epoch_is_read_in_its_order_and_others_shuffled():
    order_W = np.random.default_rng(0).permutation(30)
    seen = list(itertools.chain(*take(loader.draw_epochs(Numbers(30), 0, order_W), 15)))
    assert seen[:30] == order_W.tolist()
    assert sorted(seen[30:]) == list(range(30))
    assert seen[30:] != seen[:30]


def test_each_source_of_a_mixture_is_read_epoch_after_epoch():
    seen = list(itertools.chain(*take(DRAWS["mixture"](), 40)))
    first = [number for number in seen if number < 1000]
    second = [number - 1000 for number in seen if number >= 1000]
    assert (len(first), len(second)) == (100, 60)
    assert all(sorted(first[i : i + 30]) == list(range(30)) for i in (0, 30, 60))
    assert all(sorted(second[i : i + 20]) == list(range(20)) for i in (0, 20, 40))


@each_kind_of_draws
@pytest.mark.parametrize("start_step", [1, 7, 8, 20])
def test_seeking(kind: str, start_step: int):
    draws = DRAWS[kind]()
    assert take(draws, 5, start_step=start_step) == take(draws, 30)[start_step:][:5]


def test_seeking_takes_no_time():
    huge = loader.draw_epochs(Numbers(1 << 30), 0)
    start = time.monotonic()
    take(grain.MapDataset.select_from_datasets([huge, huge], Shares([7, 3])), 1, start_step=1_000_000_000)
    assert time.monotonic() - start < 1


@each_kind_of_draws
@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_rows_of_the_hosts_make_the_global_batch(kind: str, hosts: int):
    draws, rows = DRAWS[kind](), 8 // hosts
    parts = [
        take(draws, 4, 8, start_step=2, rows=slice(host * rows, (host + 1) * rows)) for host in range(hosts)
    ]
    joined = [list(itertools.chain(*step)) for step in zip(*parts, strict=True)]
    assert joined == take(draws, 4, 8, start_step=2)


def test_a_host_reads_no_rows_but_its_own():
    sources = Numbers(30), Numbers(20, 1000)
    whole = take(mixed(*sources), 12, 8)
    for source in sources:
        source.read.clear()
    with loader.train_batches(mixed(*sources), 8, rows=slice(2, 5), prefetch=1) as batches:
        mine = [next(batches)["inputs"][:, 0].tolist() for _ in range(4)]
    assert mine == [step[2:5] for step in whole[:4]]
    read = sources[0].read + [1000 + index for index in sources[1].read]
    ahead = len(read) // 3  # steps that were read, those kept ready included
    assert 4 <= ahead <= 7
    assert sorted(read) == sorted(itertools.chain(*(step[2:5] for step in whole[:ahead])))


def test_all_of_a_window_arrives(prepared):
    windows = prepared.windows("train")
    with loader.train_batches(loader.draw_epochs(windows, 3), 8) as batches:
        batch = next(batches)
    of_first_row = [i for i in range(len(windows)) if (windows[i]["inputs"] == batch["inputs"][0]).all()]
    assert of_first_row
    for name, rows in batch.items():
        np.testing.assert_array_equal(rows[0], windows[of_first_row[0]][name])


# Worker processes change nothing and leave nothing.


@pytest.mark.slow
@each_kind_of_draws
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_change_nothing_and_leave_nothing(kind: str, workers: int):
    flags.FLAGS.mark_as_parsed()  # what absl's app.run does
    draws = DRAWS[kind]()
    expected = take(draws, 9, start_step=3)
    before = set(psutil.Process().children(recursive=True))
    assert take(draws, 9, start_step=3, workers=workers) == expected
    assert not workers_of(psutil.Process()) - before


@pytest.mark.slow
def test_real_windows_go_to_workers(prepared):
    flags.FLAGS.mark_as_parsed()
    draws = loader.draw_epochs(prepared.windows("train"), 5)
    assert take(draws, 3, workers=1) == take(draws, 3)


def workers_of(process: psutil.Process) -> set[psutil.Process]:
    """Its children, but for one of Python's own that ends by itself."""
    children = process.children(recursive=True)
    return {child for child in children if "resource_tracker" not in str(child.cmdline())}


SCRIPT = """
import sys, time
from absl import flags
from tests.data.test_loader import Numbers
from tinyjax.data import loader

if __name__ == "__main__":
    flags.FLAGS.mark_as_parsed()
    with loader.train_batches(loader.draw_epochs(Numbers(100), 0), 4, workers=2) as batches:
        print("starting", flush=True)
        next(batches), next(batches)
        print("reading", flush=True)
        if sys.argv[1] == "raise":
            raise KeyError("mine")
        if sys.argv[1] == "wait":
            time.sleep(60)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("does", "signum", "code", "said"),
    [
        ("end", None, 0, ""),
        ("raise", None, 1, "KeyError: 'mine'"),
        ("wait", signal.SIGINT, -signal.SIGINT, "KeyboardInterrupt"),
        ("wait", signal.SIGKILL, -signal.SIGKILL, ""),
    ],
)
def test_however_it_ends_it_ends_soon_and_leaves_no_process(does, signum, code, said, tmp_path: pathlib.Path):
    """Ctrl-C goes to all processes of the job, as a terminal sends it; a kill to the parent alone."""
    (tmp_path / "script.py").write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, tmp_path / "script.py", does], env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout
    assert process.stdout.readline() == "starting\n"
    while len(found := workers_of(psutil.Process(process.pid))) < 2:
        time.sleep(0.01)
    assert process.stdout.readline() == "reading\n"
    begin = time.monotonic()
    if signum == signal.SIGINT:
        os.killpg(process.pid, signum)
    elif signum:
        process.send_signal(signum)
    _, errors = process.communicate(timeout=30)
    assert time.monotonic() - begin < 5
    assert process.returncode == code
    assert said in errors
    assert errors.count("Traceback") == bool(said)
    assert not psutil.wait_procs(found, timeout=5)[1]


def test_closing_is_quick_and_leaves_no_thread(prepared):
    before, start = threading.active_count(), time.monotonic()
    for _ in range(20):
        steps(prepared.windows("train"), 1)
    assert time.monotonic() - start < 5
    assert threading.active_count() == before


def test_an_error_in_training_closes_too():
    before = threading.active_count()
    with pytest.raises(KeyError), loader.train_batches(loader.draw_epochs(Numbers(9), 0), 2) as batches:  # noqa: PT012
        next(batches)
        raise KeyError
    assert threading.active_count() == before


def test_shapes_and_dtypes(prepared):
    with loader.train_batches(loader.draw_epochs(prepared.windows("train"), 0), 4) as batches:
        batch = next(batches)
    assert set(batch) == {"inputs", "targets", "segments", "weights"}
    assert all(array.shape == (4, 128) and array.dtype == np.int32 for array in batch.values())


@pytest.mark.parametrize(("count", "batch_size"), [(8, 4), (9, 4), (1, 4), (3, 1)])
def test_evaluation_reads_every_window_once_in_order(count, batch_size):
    batches = list(loader.evaluation_batches(Numbers(count), batch_size))
    assert all(batch["inputs"].shape == (batch_size, 2) for batch in batches)
    rows = np.concatenate([batch["inputs"][:, 0] for batch in batches]).tolist()
    assert rows[:count] == list(range(count))
    assert not any(rows[count:])


def test_evaluation_on_two_hosts_is_the_whole():
    halves = [
        list(loader.evaluation_batches(Numbers(9), 4, rows=rows)) for rows in (slice(0, 2), slice(2, 4))
    ]
    whole = loader.evaluation_batches(Numbers(9), 4)
    for first, second, both in zip(*halves, whole, strict=True):
        np.testing.assert_equal(np.concatenate([first["inputs"], second["inputs"]]), both["inputs"])


@pytest.mark.slow
def test_speed(prepared):
    with loader.train_batches(loader.draw_epochs(prepared.windows("train"), 0), 16) as batches:
        next(batches)
        start = time.monotonic()
        for _ in range(200):
            next(batches)
        assert 200 / (time.monotonic() - start) > 100
