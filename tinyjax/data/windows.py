"""Packed windows: examples as token ids, best-fit into windows of T slots, in ArrayRecord files.

A story with ids [bos, a, b, eos] fills three slots: inputs [bos, a, b], targets [a, b, eos]. What is
longer than a window is cut; each later piece starts with the last token before the cut, so every
target is trained on once. What fits is never cut.

A record holds the number of pieces, the length of each, how many of its first targets are instruction
and not story, and their ids, all in one integer type.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from array_record.python.array_record_data_source import ArrayRecordDataSource
from etils import epath

from tinyjax import instruct, recordio
from tinyjax.data.packing import best_fit
from tinyjax.stories import examples
from tinyjax.textio import Record
from tinyjax.tokenizer import Tokenizer

# One window: inputs, targets, segments (from 1; 0 is padding), weights (1: counts), int32[T] each.
Window = dict[str, np.ndarray]
_FIELDS = ("inputs", "targets", "segments", "weights")


@dataclasses.dataclass(frozen=True)
class Windows:
    """Random access to the windows of a split; pickles as file names."""

    folder: epath.Path
    records: ArrayRecordDataSource
    context_length: int
    dtype: str
    bands: np.ndarray  # difficulty of each window, int32; 0 is the easiest
    story_only: bool = False  # instructions don't count in the loss

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Window:
        try:
            record = self.records[index]
        except RuntimeError as error:
            raise recordio.damaged(self.folder) from error
        return decode_window(record, self.context_length, self.dtype, story_only=self.story_only)


class Piece(NamedTuple):
    """What lies in a window as one segment."""

    ids: np.ndarray  # one token longer than its slots
    instruction: int = 0  # so many of its first targets are instruction


@dataclasses.dataclass(frozen=True)
class Instructions:
    """How instructions are chosen for a story."""

    hold_out: frozenset[str] = frozenset()  # kinds that never come together
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How stories become windows; the same recipe makes the same windows."""

    tokenizer: Tokenizer
    context_length: int
    num_bands: int = 1
    instructions: Instructions | None = None  # None: the story alone


class ShardJob(NamedTuple):
    """A shard of stories, and the file of windows to make of it."""

    shard: epath.Path
    target: epath.Path
    bands: np.ndarray | None = None  # of each story, int[stories]; None: all in the first


@dataclasses.dataclass(frozen=True)
class Packed:
    """What packing one shard gave."""

    bands: list[int]  # windows of each band, which stand in this order
    stories: int
    tokens: int  # slots that are not padding
    bytes: int  # of the examples' text

    @property
    def windows(self) -> int:
        """Number of windows."""
        return sum(self.bands)


def open_windows(
    folder: epath.Path,
    names: Sequence[str],
    context_length: int,
    dtype: str,
    *,
    bands: Sequence[Sequence[int]] = (),
    story_only: bool = False,
) -> Windows:
    """Opens the files of a split, named in order; `bands` counts each file's windows band by band."""
    try:
        records = ArrayRecordDataSource([str(folder / name) for name in names])
    except (RuntimeError, ValueError) as error:
        raise recordio.damaged(folder) from error
    in_order = [np.repeat(np.arange(len(counts), dtype=np.int32), counts) for counts in bands]
    of_windows = np.concatenate(in_order) if bands else np.zeros(len(records), np.int32)
    return Windows(folder, records, context_length, dtype, of_windows, story_only)


def record_dtype(vocab_size: int, context_length: int) -> str:
    """Returns the smallest of uint16 and uint32 that holds every id and every length."""
    return "uint16" if max(vocab_size - 1, context_length + 1) < 1 << 16 else "uint32"


def cut_example(example: Piece, context_length: int) -> list[Piece]:
    """Cuts [bos, ..., eos] into pieces of at most `context_length` slots that share one token."""
    ids, instruction = example
    return [
        Piece(ids[start : start + context_length + 1], _clip(instruction - start, context_length))
        for start in range(0, len(ids) - 1, context_length)
    ]


def _clip(value: int, highest: int) -> int:
    return min(max(value, 0), highest)


def encode_window(pieces: Sequence[Piece], dtype: str) -> bytes:
    """Returns the record of a window that holds `pieces`."""
    lengths = [len(piece.ids) for piece in pieces]
    header = [len(pieces), *lengths, *(piece.instruction for piece in pieces)]
    return np.concatenate([header, *(piece.ids for piece in pieces)]).astype(dtype).tobytes()


def decode_window(record: bytes, context_length: int, dtype: str, *, story_only: bool = False) -> Window:
    """Returns the arrays of a record; with `story_only` instructions have no weight."""
    values = np.frombuffer(record, dtype)
    count = int(values[0])
    lengths, instruction = values[1 : 2 * count + 1].astype(np.int32).reshape(2, count)
    ids = values[2 * count + 1 :]
    ends = np.cumsum(lengths)
    window = {name: np.zeros(context_length, np.int32) for name in _FIELDS}
    used = len(ids) - count
    window["inputs"][:used] = np.delete(ids, ends - 1)
    window["targets"][:used] = np.delete(ids, ends - lengths)
    window["segments"][:used] = np.repeat(np.arange(1, count + 1), lengths - 1)
    window["weights"][:used] = 1
    if story_only:
        starts = ends - lengths - np.arange(count)  # each piece has one slot fewer than ids
        for start, number in zip(starts, instruction, strict=True):
            window["weights"][start : start + number] = 0
    return window


def example_text(record: Record, instructions: Instructions | None) -> tuple[str, str]:
    """Returns what stands before a story, and the whole example: instructions and story."""
    prompt = instruct.prompt(draw_fields(record, instructions)) if instructions else ""
    return prompt, prompt + record.text


def draw_fields(record: Record, instructions: Instructions) -> instruct.Fields:
    """Returns the instructions that a story gets: those it was published with, or a random choice."""
    known: instruct.Fields = {
        "words": record.words,
        "features": record.features,
        "summary": record.summary,
        "sentence": record.sentence or instruct.pick_sentence(record.text, instructions.seed),
    }
    given = record.given
    if not given or (instructions.hold_out and instructions.hold_out <= set(given)):
        available = [kind for kind, value in known.items() if value and (not given or kind in given)]
        given = instruct.draw(available, record.text, instructions.seed, instructions.hold_out)
    return {kind: known[kind] for kind in given}


def encode_example(record: Record, recipe: Recipe) -> tuple[Piece, int]:
    """Returns [bos, ..., eos] of an example, and the bytes of its text."""
    tokenizer = recipe.tokenizer
    prompt, text = example_text(record, recipe.instructions)
    ids = tokenizer.encode(text)
    instruction = common_length(ids, tokenizer.encode(prompt)) if prompt else 0
    framed = np.concatenate([[tokenizer.bos_id], ids, [tokenizer.eos_id]])
    return Piece(framed, instruction), len(text.encode())


def common_length(a: np.ndarray, b: np.ndarray) -> int:
    """Returns how many ids at the start of both are equal."""
    length = min(len(a), len(b))
    differ = np.flatnonzero(a[:length] != b[:length])
    return int(differ[0]) if len(differ) else length


def pack_shard(job: ShardJob, *, recipe: Recipe) -> Packed:
    """Packs the stories of one shard of the data set into one file of windows, band by band."""
    # What is known of a story takes time to read, and is for instructions only.
    records = (
        examples.read_stories(job.shard)
        if recipe.instructions
        else map(Record, examples.read_texts(job.shard))
    )
    encoded = [encode_example(record, recipe) for record in records]
    bands = np.zeros(len(encoded), np.int32) if job.bands is None else job.bands
    packed = [
        _pack([piece for (piece, _), own in zip(encoded, bands == band, strict=True) if own], recipe)
        for band in range(recipe.num_bands)
    ]
    dtype = record_dtype(recipe.tokenizer.vocab_size, recipe.context_length)
    recordio.write_records(job.target, (encode_window(window, dtype) for band in packed for window in band))
    return Packed(
        bands=[len(windows) for windows in packed],
        stories=len(encoded),
        tokens=sum(len(piece.ids) - 1 for piece, _ in encoded),
        bytes=sum(size for _, size in encoded),
    )


def _pack(encoded: Sequence[Piece], recipe: Recipe) -> list[list[Piece]]:
    """Returns the pieces of each window."""
    pieces = [piece for example in encoded for piece in cut_example(example, recipe.context_length)]
    windows = best_fit([len(piece.ids) - 1 for piece in pieces], recipe.context_length)
    return [[pieces[i] for i in window] for window in windows]
