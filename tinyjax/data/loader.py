"""Windows to batches: the batch of step s is a pure function of (windows, seed, s).

It depends neither on how many processes read nor on how its rows are split over hosts, so training
can be stopped at any step and taken up on other machines; the step number is all there is to save.
"""

import contextlib
import dataclasses
import sys
from collections.abc import Generator, Iterator
from typing import Any, Protocol

import grain
import numpy as np

from tinyjax.data.windows import Window

_ALL = slice(None)


class WindowSource(Protocol):
    """Random access to windows; picklable where worker processes are used."""

    def __len__(self) -> int:
        """Number of windows."""
        ...

    def __getitem__(self, index: int, /) -> Window:
        """Window number `index`."""
        ...


@contextlib.contextmanager
def train_batches(
    windows: WindowSource,
    batch_size: int,
    seed: int,
    *,
    start_step: int = 0,
    rows: slice = _ALL,
    workers: int = 0,
    prefetch: int = 4,
) -> Generator[Iterator[Window]]:
    """Yields endless batches from `start_step` on, int32[rows, T] each, shuffled anew each epoch.

    Args:
      windows: what to read; its windows are numbered through epoch after epoch.
      batch_size: rows of the global batch.
      seed: of the order.
      start_step: the first step; seeking takes no time.
      rows: the part of the global batch that this host reads.
      workers: reading processes; 0 reads in a thread of this one.
      prefetch: batches kept ready, at least 1.
    """
    source: Any = windows  # Grain names the argument of __getitem__ otherwise
    epochs = grain.MapDataset.source(source).seed(seed).shuffle().repeat()
    read = _ReadBatch(epochs, batch_size, range(batch_size)[rows])
    steps = grain.MapDataset.range(start_step, sys.maxsize).map(read)
    batches = steps.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0))
    if workers:
        batches = batches.mp_prefetch(grain.MultiprocessingOptions(workers, prefetch))
    else:
        batches = grain.experimental.ThreadPrefetchIterDataset(batches, prefetch_buffer_size=prefetch)
    iterator = iter(batches)
    # A generator of our own: Grain's iterator complains when it is alive as the interpreter ends.
    handed_out = (batch for batch in iterator)
    try:
        yield handed_out
    finally:
        handed_out.close()
        iterator.close()


@dataclasses.dataclass(frozen=True)
class _ReadBatch:
    """Reads this host's rows of the batch of a step; a class so that it pickles to workers."""

    epochs: Any  # a grain.MapDataset: the windows of all epochs, each shuffled, one after the other
    batch_size: int
    rows: range

    def __call__(self, step: int) -> Window:
        return _stack([self.epochs[step * self.batch_size + row] for row in self.rows])


def evaluation_batches(windows: WindowSource, batch_size: int, *, rows: slice = _ALL) -> Iterator[Window]:
    """Yields all windows once, in order, int32[rows, T]; the last batch is filled with padding."""
    blank = {name: np.zeros_like(row) for name, row in windows[0].items()}
    for first in range(0, len(windows), batch_size):
        indices = range(first, first + batch_size)[rows]
        yield _stack([windows[i] if i < len(windows) else blank for i in indices])


def _stack(windows: list[Window]) -> Window:
    return {name: np.stack([window[name] for window in windows]) for name in windows[0]}
