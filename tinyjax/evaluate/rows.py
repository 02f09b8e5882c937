"""Texts as rows of their own, cut as in training, in batches of rows of about equal length."""

from collections.abc import Iterator, Sequence

import numpy as np

_SHORTEST = 32  # rows are padded to this, twice this, ...: few programs serve all lengths
BATCH_TOKENS = 4096


def batches(
    pieces: Sequence[np.ndarray], context_length: int, *, tokens: int = BATCH_TOKENS, shards: int = 1
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Yields batches of pieces, with the indices of their pieces; rows beyond those are padding.

    Args:
      pieces: ids, each of at least two and at most `context_length` + 1.
      context_length: of the model.
      tokens: of a batch, about.
      shards: what divides the number of rows.
    """
    lengths = np.array([len(piece) - 1 for piece in pieces], int)
    shortest, length = 0, min(_SHORTEST, context_length)
    while shortest < context_length:
        members = np.flatnonzero((lengths > shortest) & (lengths <= length))
        rows = -(-max(tokens // length, 1) // shards) * shards
        for start in range(0, len(members), rows):
            chosen = members[start : start + rows]
            yield chosen, _batch([pieces[i] for i in chosen], rows, length)
        shortest, length = length, min(2 * length, context_length)


def _batch(pieces: Sequence[np.ndarray], rows: int, length: int) -> dict[str, np.ndarray]:
    """Returns a batch with one piece a row; the rows beyond them are padding."""
    batch = {
        name: np.zeros((rows, length), np.int32) for name in ("inputs", "targets", "segments", "weights")
    }
    for row, piece in enumerate(pieces):
        used = len(piece) - 1
        batch["inputs"][row, :used], batch["targets"][row, :used] = piece[:-1], piece[1:]
        batch["segments"][row, :used] = batch["weights"][row, :used] = 1
    return batch
