"""Windows to batches: the batch of step s is a pure function of (windows, seed, s).

It depends neither on how many processes read nor on how its rows are split over hosts, so training
can be stopped at any step and taken up on other machines; the step number is all there is to save.
"""

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Generator, Iterator
from multiprocessing import resource_tracker
from typing import Any, Protocol

import grain
import numpy as np

from tinyjax.data.curriculum import FirstEpoch
from tinyjax.data.windows import Window

_ALL = slice(None)

# Windows without end, by number of the draw: a grain.MapDataset, or anything else indexed so that pickles.
Draws = Any


class WindowSource(Protocol):
    """Random access to windows; picklable where worker processes are used."""

    def __len__(self) -> int:
        """Number of windows."""
        ...

    def __getitem__(self, index: int, /) -> Window:
        """Window number `index`."""
        ...


def draw_epochs(windows: WindowSource, seed: int, first_epoch_W: np.ndarray | None = None) -> Draws:
    """Returns all windows epoch after epoch, each shuffled anew, or the first in the order given."""
    source: Any = windows  # Grain names the argument of __getitem__ otherwise
    in_order = grain.MapDataset.source(source)
    epochs = in_order.seed(seed).shuffle().repeat()
    if first_epoch_W is None:
        return epochs
    return grain.MapDataset.select_from_datasets([in_order, epochs], FirstEpoch(first_epoch_W))


@contextlib.contextmanager
def train_batches(
    draws: Draws,
    batch_size: int,
    *,
    start_step: int = 0,
    rows: slice = _ALL,
    workers: int = 0,
    prefetch: int = 4,
) -> Generator[Iterator[Window]]:
    """Yields endless batches from `start_step` on, int32[rows, T] each.

    Args:
      draws: windows by their number; a step reads the next `batch_size` of them.
      batch_size: rows of the global batch.
      start_step: the first step; seeking takes no time.
      rows: the part of the global batch that this host reads.
      workers: reading processes; 0 reads in a thread of this one.
      prefetch: batches kept ready, at least 1.
    """
    read = _ReadBatch(draws, batch_size, range(batch_size)[rows])
    steps = grain.MapDataset.range(start_step, sys.maxsize).map(read)
    batches = steps.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0))
    if workers:
        batches = batches.mp_prefetch(grain.MultiprocessingOptions(workers, prefetch), _end_with_parent)
    else:
        batches = grain.experimental.ThreadPrefetchIterDataset(batches, prefetch_buffer_size=prefetch)
    iterator = iter(batches)
    # A generator of our own: Grain's iterator complains when it is alive as the interpreter ends.
    handed_out = _hand_out(iterator, _signals_blocked() if workers else contextlib.nullcontext())
    try:
        yield handed_out
    finally:
        handed_out.close()
        iterator.close()


@dataclasses.dataclass(frozen=True)
class _ReadBatch:
    """Reads this host's rows of the batch of a step; a class so that it pickles to workers."""

    draws: Draws
    batch_size: int
    rows: range

    def __call__(self, step: int) -> Window:
        return _stack([self.draws[step * self.batch_size + row] for row in self.rows])


def _hand_out(
    iterator: Iterator[Window], starting: contextlib.AbstractContextManager[None]
) -> Generator[Window]:
    """Yields all batches; the first, which starts workers, is asked for inside `starting`."""
    with starting:
        first = next(iterator)
    yield first
    yield from iterator


@contextlib.contextmanager
def _signals_blocked() -> Generator[None]:
    """Processes started inside never get SIGINT and SIGTERM; those of this one come when it is over.

    A terminal sends Ctrl-C, and a cluster SIGTERM, to all processes of a job. The trainer then still needs
    its workers, for the batch that it waits for.
    """
    resource_tracker.ensure_running()  # started later, it would unblock them
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent(worker: int, num_workers: int) -> None:
    """Makes this worker end when its parent is killed, and can't tell it to."""
    del worker, num_workers
    threading.Thread(target=_await_parent, daemon=True).start()


def _await_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def evaluation_batches(windows: WindowSource, batch_size: int, *, rows: slice = _ALL) -> Iterator[Window]:
    """Yields all windows once, in order, int32[rows, T]; the last batch is filled with padding."""
    blank = {name: np.zeros_like(row) for name, row in windows[0].items()}
    for first in range(0, len(windows), batch_size):
        indices = range(first, first + batch_size)[rows]
        yield _stack([windows[i] if i < len(windows) else blank for i in indices])


def _stack(windows: list[Window]) -> Window:
    return {name: np.stack([window[name] for window in windows]) for name in windows[0]}
