"""A strict reader of llama2.c's files, written from the format's description: shares nothing with ours."""

import pathlib
import struct
from collections.abc import Callable, Mapping

import numpy as np

from tinyjax.interop import numpy_decoder

MAGIC = b"24ka"  # "ak42", as a little-endian integer


class Model:
    """A model of any version, and its tokenizer."""

    def __init__(self, path: pathlib.Path):
        data = path.read_bytes()
        self.version = struct.unpack("<i", data[4:8])[0] if data[:4] == MAGIC else 0
        start = 8 if self.version else 0
        self.sizes = struct.unpack("<7i", data[start : start + 28])
        dim, hidden, layers, heads, kv_heads, vocab, self.context = self.sizes
        if self.version:
            self.shared = {0: False, 1: True}[data[36]]
            self.group = struct.unpack("<i", data[37:41])[0] if self.version == 2 else 0
            assert not any(data[41 if self.version == 2 else 37 : 256]), "the header's end is to be empty"
        else:
            self.shared = vocab > 0
        self.vocab = abs(vocab)
        self.heads, self.kv_heads = heads, kv_heads
        self.data, self.position = data, 256 if self.version else 28
        kv, width = dim // heads * kv_heads, dim
        matrices = {"q": (dim, dim), "k": (kv, dim), "v": (kv, dim), "o": (dim, dim)}
        mlp = {"gate": (hidden, dim), "down": (dim, hidden), "up": (hidden, dim)}
        self.weights: dict[str, np.ndarray] = {}
        self.blocks: list[dict[str, np.ndarray]] = [{} for _ in range(layers)]
        if self.version == 0:
            self._take("embedding", self.vocab, width)
            self._take_all({"attention_norm": (dim,)} | matrices | {"mlp_norm": (dim,)} | mlp)
            self._take("norm", dim)
            for name in ("cosine", "sine"):
                self._take(name, self.context, dim // heads // 2)
        else:
            self._take_all({"attention_norm": (dim,), "mlp_norm": (dim,)})
            self._take("norm", dim)
            self._take("embedding", self.vocab, width)
            self._take_all(matrices | mlp)
        if self.shared:
            self.weights["head"] = self.weights["embedding"]
        else:
            self._take("head", self.vocab, width)
        assert self.position == len(data), "the file is to end here"
        self.pieces = read_tokenizer(path.parent / "tokenizer.bin", self.vocab)

    def _take_all(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        for name, shape in shapes.items():
            for block in self.blocks:
                block[name] = self._next(shape)

    def _take(self, name: str, *shape: int) -> None:
        self.weights[name] = self._next(shape)

    def _next(self, shape: tuple[int, ...]) -> np.ndarray:
        count = int(np.prod(shape))
        if self.version < 2 or len(shape) == 1:
            return self._numbers("<f4", count).reshape(shape)
        q, scales = self._numbers("i1", count), self._numbers("<f4", count // self.group)
        assert q.min() > -128
        return (q.reshape(-1, self.group) * scales[:, None]).reshape(shape)

    def _numbers(self, dtype: str, count: int) -> np.ndarray:
        numbers = np.frombuffer(self.data, dtype, count, self.position)
        self.position += numbers.nbytes
        return numbers

    def logits(self, ids: list[int]) -> np.ndarray:
        """Returns the logits at each position, [T, V]."""
        decoder = numpy_decoder.Weights(
            self.weights["embedding"], self.weights["head"], self.blocks, self.weights["norm"],
            heads=self.heads, kv_heads=self.kv_heads, eps=1e-5, adjacent_pairs=True,
        )  # fmt: skip
        return numpy_decoder.logits(decoder, ids)


def read_tokenizer(path: pathlib.Path, vocab: int) -> list[tuple[bytes, float]]:
    """Returns each piece's bytes and score."""
    data = path.read_bytes()
    pieces, position = [], 4
    for _ in range(vocab):
        score, length = struct.unpack("<fi", data[position : position + 8])
        pieces.append((data[position + 8 : position + 8 + length], score))
        position += 8 + length
    assert position == len(data), "the file is to end here"
    assert struct.unpack("<i", data[:4])[0] == max(len(piece) for piece, _ in pieces)
    return pieces


def encode(pieces: list[tuple[bytes, float]], text: str) -> list[int]:
    """Returns a text's ids as llama2.c does: a space, characters or their bytes, the best pairs merged."""
    ids_of: dict[bytes, int] = {}
    for i, (piece, _) in enumerate(pieces):
        ids_of.setdefault(piece, i)
    ids = [ids_of[b" "]] if text else []
    for character in text:
        data = character.encode()
        ids += [ids_of[data]] if data in ids_of else [3 + byte for byte in data]
    join: Callable[[int], bytes] = lambda i: pieces[ids[i]][0] + pieces[ids[i + 1]][0]  # noqa: E731
    while candidates := [i for i in range(len(ids) - 1) if join(i) in ids_of]:
        best = max(candidates, key=lambda i: pieces[ids_of[join(i)]][1])  # of equals, the first
        ids[best : best + 2] = [ids_of[join(best)]]
    return ids
