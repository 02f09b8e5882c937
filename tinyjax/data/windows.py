"""Packed windows: stories as token ids, best-fit into windows of T slots, in ArrayRecord files.

A story with ids [bos, a, b, eos] fills three slots: inputs [bos, a, b], targets [a, b, eos]. A
story longer than a window is cut; each later piece starts with the last token before the cut, so
every target is trained on once. Stories that fit are never cut.

A record holds the number of pieces, the length of each, and their ids, all in one integer type.
"""

import concurrent.futures
import dataclasses
import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from array_record.python.array_record_data_source import ArrayRecordDataSource
from etils import epath

from tinyjax import recordio
from tinyjax.data.packing import best_fit
from tinyjax.stories import builder
from tinyjax.tokenizer import Tokenizer

# One window: inputs, targets and segments, int32[T] each; segments count from 1, 0 is padding.
Window = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Windows:
    """Random access to the windows of a split; pickles as file names."""

    folder: epath.Path
    records: ArrayRecordDataSource
    context_length: int
    dtype: str

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Window:
        try:
            record = self.records[index]
        except RuntimeError as error:
            raise recordio.damaged(self.folder) from error
        return decode_window(record, self.context_length, self.dtype)


@dataclasses.dataclass(frozen=True)
class Packed:
    """What packing one shard gave."""

    windows: int
    stories: int
    tokens: int  # slots that are not padding


def open_windows(folder: epath.Path, names: Sequence[str], context_length: int, dtype: str) -> Windows:
    """Opens the files of a split, named in order."""
    try:
        records = ArrayRecordDataSource([str(folder / name) for name in names])
    except (RuntimeError, ValueError) as error:
        raise recordio.damaged(folder) from error
    return Windows(folder, records, context_length, dtype)


def record_dtype(vocab_size: int, context_length: int) -> str:
    """Returns the smallest of uint16 and uint32 that holds every id and every length."""
    return "uint16" if max(vocab_size - 1, context_length + 1) < 1 << 16 else "uint32"


def cut_story(ids: np.ndarray, context_length: int) -> list[np.ndarray]:
    """Cuts [bos, ..., eos] into pieces of at most `context_length` slots that share one token."""
    starts = range(0, len(ids) - 1, context_length)
    return [ids[start : start + context_length + 1] for start in starts]


def encode_window(pieces: Sequence[np.ndarray], dtype: str) -> bytes:
    """Returns the record of a window that holds `pieces`, each one token longer than its slots."""
    header = [len(pieces), *(len(piece) for piece in pieces)]
    return np.concatenate([header, *pieces]).astype(dtype).tobytes()


def decode_window(record: bytes, context_length: int, dtype: str) -> Window:
    """Returns the arrays of a record."""
    values = np.frombuffer(record, dtype)
    count = int(values[0])
    lengths = values[1 : count + 1].astype(np.int32)
    ids = values[count + 1 :]
    ends = np.cumsum(lengths)
    window = {name: np.zeros(context_length, np.int32) for name in ("inputs", "targets", "segments")}
    used = len(ids) - count
    window["inputs"][:used] = np.delete(ids, ends - 1)
    window["targets"][:used] = np.delete(ids, ends - lengths)
    window["segments"][:used] = np.repeat(np.arange(1, count + 1), lengths - 1)
    return window


def encode_story(text: str, tokenizer: Tokenizer) -> np.ndarray:
    """Returns [bos, ..., eos], int32[T]."""
    return np.concatenate([[tokenizer.bos_id], tokenizer.encode(text), [tokenizer.eos_id]])


def pack_shard(
    shard: epath.PathLike, tokenizer: Tokenizer, context_length: int, target: epath.PathLike
) -> Packed:
    """Packs the stories of one shard of the data set into one file of windows."""
    texts = builder.read_texts(shard)
    pieces = [piece for text in texts for piece in cut_story(encode_story(text, tokenizer), context_length)]
    slots = [len(piece) - 1 for piece in pieces]
    windows = best_fit(slots, context_length)
    dtype = record_dtype(tokenizer.vocab_size, context_length)
    recordio.write_records(target, (encode_window([pieces[i] for i in window], dtype) for window in windows))
    return Packed(len(windows), len(texts), sum(slots))


def pack_split(
    shards: Sequence[epath.Path],
    targets: Sequence[epath.Path],
    tokenizer: Tokenizer,
    context_length: int,
    progress: Callable[[int], Any],
) -> list[Packed]:
    """Packs each shard into its target, on all cores; the files don't depend on their number.

    `progress` is told the number of stories of each shard as it is done.
    """
    jobs = [(shard, tokenizer, context_length, target) for shard, target in zip(shards, targets, strict=True)]
    cores = min(len(jobs), _num_cores())
    if cores == 1:
        return [_told(pack_shard(*job), progress) for job in jobs]
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(cores, context, _end_on_interrupt) as pool:
        futures = [pool.submit(pack_shard, *job) for job in jobs]
        try:
            return [_told(future.result(), progress) for future in futures]
        finally:
            pool.shutdown(cancel_futures=True)


def _num_cores() -> int:
    """Returns how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _end_on_interrupt() -> None:
    """Lets a worker die of Ctrl-C in silence; the parent says what there is to say."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _told(packed: Packed, progress: Callable[[int], Any]) -> Packed:
    progress(packed.stories)
    return packed
