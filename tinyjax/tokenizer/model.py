"""The tokenizer: a model's bytes, which tell its kind, and what can be done with it."""

import functools
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from etils import epath

from tinyjax.errors import UserError
from tinyjax.tokenizer.byte_level import from_vocab_and_merges, read_byte_level
from tinyjax.tokenizer.sentencepieces import read_sentencepiece
from tinyjax.tokenizer.vocabulary import Vocabulary

_JSON, _VOCAB, _MERGES = "tokenizer.json", "vocab.json", "merges.txt"


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer of any kind; cheap to pickle and to compare."""

    model: bytes  # a serialized SentencePiece model, or the JSON of a byte-level BPE

    def __reduce__(self):
        return _unpickled, (self.model,)

    @functools.cached_property
    def _vocabulary(self) -> Vocabulary:
        return read_byte_level(self.model) if is_json(self.model) else read_sentencepiece(self.model)

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        return len(self.piece_bytes)

    @property
    def pad_id(self) -> int:
        """Id of padding.

        In a model without one, it is the id of bos: that always exists and is no target inside a story, so
        that taking it for padding hides no text.
        """
        return self._vocabulary.pad_id

    @property
    def bos_id(self) -> int:
        """Id before a story."""
        return self._vocabulary.bos_id

    @property
    def eos_id(self) -> int:
        """Id after a story."""
        return self._vocabulary.eos_id

    @property
    def unk_id(self) -> int:
        """Id of the unknown; text yields it only in others' models that have no bytes to fall back to.

        Byte-level BPE knows no unknown: there it is the id of eos, as are bos and padding.
        """
        return self._vocabulary.unk_id

    @functools.cached_property
    def sha256(self) -> str:
        """Hex digest of the model: what a checkpoint or data set says about its tokenizer."""
        return hashlib.sha256(self.model).hexdigest()

    @property
    def piece_bytes(self) -> tuple[bytes, ...]:
        """The bytes each id stands for; empty for control ids."""
        return self._vocabulary.pieces

    @functools.cached_property
    def token_bytes_V(self) -> np.ndarray:  # noqa: N802 (the shape)
        """Number of UTF-8 bytes each id stands for, int32[V]; control ids count 0."""
        return np.array([len(piece) for piece in self.piece_bytes], np.int32)

    @property
    def prefix_bytes(self) -> int:
        """Bytes that the ids of a text, unless it is empty, stand for beyond its own.

        1 where the model puts a space before every text, as llama's do; 0 in ours.
        """
        return len(self._vocabulary.prefix)

    def encode(self, text: str) -> np.ndarray:
        """Returns the ids of `text`, int32[T], without bos and eos."""
        return self._vocabulary.encode(text)

    def encode_batch(self, texts: Iterable[str]) -> list[np.ndarray]:
        """Returns the ids of each text, int32[T] each."""
        return [self.encode(text) for text in texts]

    def decode_bytes(self, ids: Iterable[int], *, start: bool = True) -> bytes:
        """Returns the bytes that `ids` stand for; control ids stand for none.

        At the start of a text, the prefix of models that have one is taken off. Ids that go on from others
        are decoded with start=False: a space before them is text.
        """
        data = b"".join(map(self.piece_bytes.__getitem__, ids))
        return data.removeprefix(self._vocabulary.prefix) if start else data

    def decode(self, ids: Iterable[int], *, start: bool = True) -> str:
        """Returns the text of `ids`, as `decode_bytes`; bytes that are not UTF-8 become U+FFFD."""
        return self.decode_bytes(ids, start=start).decode("utf-8", errors="replace")

    def save(self, path: epath.PathLike) -> None:
        """Writes the model to a file that `load_tokenizer` reads."""
        epath.Path(path).write_bytes(self.model)


@functools.lru_cache(maxsize=4)
def _unpickled(model: bytes) -> Tokenizer:
    """Returns the same tokenizer for the same bytes, so that a worker keeps what it has learned of words."""
    return Tokenizer(model)


def load_tokenizer(path: epath.PathLike) -> Tokenizer:
    """Reads a tokenizer: a SentencePiece model, a tokenizer.json, or a folder with one or GPT-2's two files.

    Raises UserError where there is none or it can't be read.
    """
    path = epath.Path(path)
    if not path.exists():
        raise UserError(f"no tokenizer at '{path}'; run prepare, which makes one")
    try:
        tokenizer = Tokenizer(_read_folder(path) if path.is_dir() else path.read_bytes())
        tokenizer.vocab_size  # noqa: B018 (parses the model)
    except ValueError:
        raise UserError(
            f"'{path}' is not a SentencePiece model, or is damaged, nor is it a tokenizer.json of byte-level "
            "BPE; restore it, or prepare the stories again into another folder"
        ) from None
    except UserError as error:
        raise UserError(f"'{path}': {error}") from None
    return tokenizer


def is_json(model: bytes) -> bool:
    """Tells byte-level BPE from SentencePiece, whose models begin with the tag of a piece, a newline."""
    return model.startswith(b"{")


def _read_folder(folder: epath.Path) -> bytes:
    if (folder / _JSON).exists():
        return (folder / _JSON).read_bytes()
    if (folder / _VOCAB).exists() and (folder / _MERGES).exists():
        return from_vocab_and_merges((folder / _VOCAB).read_bytes(), (folder / _MERGES).read_bytes())
    raise UserError(f"the folder holds neither {_JSON} nor {_VOCAB} and {_MERGES}; put them there")


@dataclass(frozen=True)
class Losses:
    """How many of some texts a tokenizer does not give back, and where the first of them differs."""

    texts: int
    changed: int
    example: str = ""


def losses(tokenizer: Tokenizer, texts: Iterable[str]) -> Losses:
    """Measures what a tokenizer loses: encodes and decodes each text, and compares."""
    count, changed, example = 0, 0, ""
    for text in texts:
        count += 1
        returned = tokenizer.decode_bytes(tokenizer.encode(text))
        if returned != text.encode():
            changed += 1
            example = example or _difference(text, returned.decode("utf-8", errors="replace"))
    return Losses(count, changed, example)


def _difference(text: str, returned: str) -> str:
    pairs = enumerate(zip(text, returned, strict=False))
    at = next((i for i, (a, b) in pairs if a != b), min(len(text), len(returned)))
    start = max(at - 10, 0)
    return f"{text[start : at + 10]!r} came back as {returned[start : at + 10]!r} (character {at})"
