"""The batch of a step is a pure function: of no start, number of workers or split over hosts."""

import itertools
import threading
import time

import numpy as np
import psutil
import pytest
from absl import flags

from tinyjax.data import loader


class Numbers:
    """A source whose window i holds i everywhere."""

    def __init__(self, count: int):
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> loader.Window:
        return {name: np.full(2, index, np.int32) for name in ("inputs", "targets", "segments")}


def steps(source, count: int, batch_size: int = 4, seed: int = 0, **options) -> list[list[int]]:
    with loader.train_batches(source, batch_size, seed, **options) as batches:
        return [batch["inputs"][:, 0].tolist() for batch in itertools.islice(batches, count)]


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


@pytest.mark.parametrize("start_step", [1, 7, 8, 20])
def test_seeking(start_step):
    assert steps(Numbers(30), 5, start_step=start_step) == steps(Numbers(30), 30)[start_step:][:5]


def test_seeking_takes_no_time():
    start = time.monotonic()
    steps(Numbers(1 << 30), 1, start_step=1_000_000)
    assert time.monotonic() - start < 1


@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_rows_of_the_hosts_make_the_global_batch(prepared, hosts):
    windows, rows = prepared.windows("train"), 8 // hosts
    parts = []
    for host in range(hosts):
        mine = slice(host * rows, (host + 1) * rows)
        with loader.train_batches(windows, 8, 3, start_step=2, rows=mine) as batches:
            parts.append([next(batches) for _ in range(4)])
    with loader.train_batches(windows, 8, 3, start_step=2) as batches:
        for step in range(4):
            joined = {
                name: np.concatenate([part[step][name] for part in parts])
                for name in ("inputs", "targets", "segments")
            }
            np.testing.assert_equal(joined, next(batches))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing_and_leave_nothing(prepared, workers):
    flags.FLAGS.mark_as_parsed()  # what absl's app.run does
    windows = prepared.windows("train")
    expected = steps(windows, 9, seed=5, start_step=3)
    before = set(psutil.Process().children(recursive=True))
    assert steps(windows, 9, seed=5, start_step=3, workers=workers) == expected
    left = set(psutil.Process().children(recursive=True)) - before
    assert not [process for process in left if "resource_tracker" not in str(process.cmdline())]


def test_closing_is_quick_and_leaves_no_thread(prepared):
    before, start = threading.active_count(), time.monotonic()
    for _ in range(20):
        steps(prepared.windows("train"), 1)
    assert time.monotonic() - start < 5
    assert threading.active_count() == before


def test_an_error_in_training_closes_too():
    before = threading.active_count()
    with pytest.raises(KeyError), loader.train_batches(Numbers(9), 2, 0) as batches:  # noqa: PT012
        next(batches)
        raise KeyError
    assert threading.active_count() == before


def test_shapes_and_dtypes(prepared):
    with loader.train_batches(prepared.windows("train"), 4, 0) as batches:
        batch = next(batches)
    assert set(batch) == {"inputs", "targets", "segments"}
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
    with loader.train_batches(prepared.windows("train"), 16, 0) as batches:
        next(batches)
        start = time.monotonic()
        for _ in range(200):
            next(batches)
        assert 200 / (time.monotonic() - start) > 100
