"""What a tokenizer of any kind consists of, and the cache that makes encoding by words fast."""

import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

Encode = Callable[[str], np.ndarray]  # text -> ids, int32[T]

_MAX_UNITS = 1 << 17  # remembered


@dataclass(frozen=True)
class Vocabulary:
    """What each id stands for, and how text becomes ids."""

    pieces: tuple[bytes, ...]  # the bytes of each id; empty for control ids
    pad_id: int
    bos_id: int
    eos_id: int
    unk_id: int
    encode: Encode
    prefix: bytes = b""  # put before every text that isn't empty


def encode_whole(encode: Callable[[str], Sequence[int]]) -> Encode:
    """Makes an array of what `encode` returns."""
    return lambda text: np.array(encode(text), np.int32)


class UnitIds(dict[str, bytes]):
    """The ids of each unit (a word, mostly), as bytes of int32: remembered, for texts repeat their words."""

    def __init__(self, encode: Callable[[str], Sequence[int]]):
        self.encode = encode

    def __missing__(self, unit: str) -> bytes:
        data = array.array("i", self.encode(unit)).tobytes()
        if len(self) < _MAX_UNITS:
            self[unit] = data
        return data

    def join(self, units: Iterable[str]) -> np.ndarray:
        """Returns the ids of the units one after the other, int32[T]."""
        return np.frombuffer(b"".join(map(self.__getitem__, units)), np.int32)
