"""Curriculum by difficulty: the easy windows first, and still each window once in the first epoch.

Windows are packed within bands of difficulty, 0 the easiest. While the ramp lasts, the bands open one
after the other, each after an equal part of the ramp, and windows are drawn without replacement from
those that are open. What is left of the first epoch follows in random order.
"""

import dataclasses
import sys

import grain
import numpy as np


@dataclasses.dataclass(frozen=True)
class Ramp:
    """How the bands of one source open: equal parts of its first `draws` draws."""

    draws: int
    num_bands: int

    def end_of_part(self, part: int) -> int:
        """Returns the draw before which part number `part`, counted from 0, is over."""
        return -(-self.draws * (part + 1) // self.num_bands)

    def open_bands(self, draw: int) -> int:
        """Returns how many bands, the easiest first, draw number `draw` is from."""
        if draw >= self.draws:
            return self.num_bands
        return 1 + draw * self.num_bands // self.draws


def count_bands(bands_W: np.ndarray) -> int:
    """Returns how many bands hold a window."""
    return len(np.unique(bands_W))


def longest_ramp(bands_W: np.ndarray) -> int:
    """Returns the most draws in a ramp for which the open bands never run out of windows."""
    open_windows = np.cumsum(np.unique(bands_W, return_counts=True)[1])
    return min(int(count) * len(open_windows) // part for part, count in enumerate(open_windows, 1))


def first_epoch(bands_W: np.ndarray, draws_in_ramp: int, seed: int) -> np.ndarray:
    """Returns the order in which the first epoch reads the windows: a permutation, int64[W].

    Args:
      bands_W: band of each window; 0 is the easiest.
      draws_in_ramp: draws until all bands are open, at most `longest_ramp`.
      seed: of the order within what is open.
    """
    levels = np.unique(bands_W)
    ramp = Ramp(draws_in_ramp, len(levels))
    bits = np.random.PCG64(seed)  # its raw stream is the same in all versions of NumPy
    pool, order, drawn = np.empty(0, np.int64), [], 0
    for part, level in enumerate(levels):
        pool = np.concatenate([pool, np.flatnonzero(bands_W == level)])
        pool = pool[np.argsort(bits.random_raw(len(pool)), kind="stable")]
        take = ramp.end_of_part(part) - drawn
        order.append(pool[:take])
        pool, drawn = pool[take:], drawn + take
    return np.concatenate([*order, pool])


class FirstEpoch(grain.transforms.DatasetSelectionMap):
    """Draws a first epoch from data set 0 in an order of its own, and all others from data set 1."""

    def __init__(self, order_W: np.ndarray):
        """Takes the order of the first epoch."""
        self._order_W = order_W

    def __len__(self) -> int:
        """Without end."""
        return sys.maxsize

    def __getitem__(self, index: int) -> tuple[int, int]:
        """Returns the data set of draw number `index`, and the index there."""
        return (0, int(self._order_W[index])) if index < len(self._order_W) else (1, index)
