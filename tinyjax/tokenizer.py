"""SentencePiece BPE that loses nothing: `decode(encode(text)) == text` for all valid UTF-8.

Unknown characters fall back to bytes, newlines are a piece of their own, no prefix is added, and
text never yields a control id, whatever it says.
"""

import functools
import hashlib
import io
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import sentencepiece
from etils import epath
from google.protobuf.message import DecodeError
from sentencepiece import sentencepiece_model_pb2

from tinyjax.errors import UserError

_ModelProto: Any = sentencepiece_model_pb2.ModelProto  # ty: ignore[missing-attribute]
_SPACE = "\u2581"  # SentencePiece writes a space so inside its pieces
_RESERVED = "\u2585"  # SentencePiece's trainer skips every sentence that holds it
_SENTENCE = 1 << 12  # characters; the trainer drops what exceeds its limit, so lines are cut before
_NUM_SPECIAL = 4 + 256 + 1  # control ids and unk, bytes, newline
_BATCH = 1 << 14  # sentences whose characters are counted together
_COVERAGE = 0.9995  # share of the characters in training text that get pieces of their own
MIN_VOCAB, MAX_VOCAB = 512, 4096


# No piece reaches over the end of a word or a newline, so a text can be encoded unit by unit.
_UNITS = re.compile(f"\n|{_SPACE}| *[^ \n{_SPACE}]+| +")
_MAX_UNITS = 1 << 17  # remembered


class _UnitIds(dict[str, bytes]):
    """The ids of each word, as the bytes of int32; remembered, for text repeats its words.

    This gives what SentencePiece gives for the whole text, at several times its speed.
    """

    def __init__(self, processor: sentencepiece.SentencePieceProcessor):
        self.processor = processor

    def __missing__(self, unit: str) -> bytes:
        if unit == _SPACE:  # SentencePiece would make a space of it
            ids = [self.processor.piece_to_id(f"<0x{byte:02X}>") for byte in unit.encode()]
        else:
            ids = self.processor.encode(unit)
        data = np.array(ids, np.int32).tobytes()
        if len(self) < _MAX_UNITS:
            self[unit] = data
        return data


@dataclass(frozen=True)
class Tokenizer:
    """A SentencePiece model; cheap to pickle and to compare."""

    model: bytes  # the serialized ModelProto

    def __reduce__(self):
        return Tokenizer, (self.model,)

    @functools.cached_property
    def _processor(self) -> sentencepiece.SentencePieceProcessor:
        return sentencepiece.SentencePieceProcessor(model_proto=self.model)

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        return self._processor.vocab_size()

    @property
    def pad_id(self) -> int:
        """Id of padding."""
        return self._processor.pad_id()

    @property
    def bos_id(self) -> int:
        """Id before a story."""
        return self._processor.bos_id()

    @property
    def eos_id(self) -> int:
        """Id after a story."""
        return self._processor.eos_id()

    @property
    def unk_id(self) -> int:
        """Id that SentencePiece reserves for the unknown; text never yields it."""
        return self._processor.unk_id()

    @functools.cached_property
    def sha256(self) -> str:
        """Hex digest of the model: what a checkpoint or data set says about its tokenizer."""
        return hashlib.sha256(self.model).hexdigest()

    @functools.cached_property
    def piece_bytes(self) -> tuple[bytes, ...]:
        """The bytes each id stands for; empty for control ids."""
        return tuple(_piece_bytes(self._processor, i) for i in range(self.vocab_size))

    @functools.cached_property
    def token_bytes_V(self) -> np.ndarray:  # noqa: N802 (the shape)
        """Number of UTF-8 bytes each id stands for, int32[V]; control ids count 0."""
        return np.array([len(piece) for piece in self.piece_bytes], np.int32)

    @functools.cached_property
    def _unit_ids(self) -> "_UnitIds":
        return _UnitIds(self._processor)

    def encode(self, text: str) -> np.ndarray:
        """Returns the ids of `text`, int32[T], without bos and eos."""
        units = _UNITS.findall(text)
        return np.frombuffer(b"".join(map(self._unit_ids.__getitem__, units)), np.int32)

    def encode_batch(self, texts: Iterable[str]) -> list[np.ndarray]:
        """Returns the ids of each text, int32[T] each."""
        return [self.encode(text) for text in texts]

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """Returns the bytes that `ids` stand for; control ids stand for none."""
        return b"".join(self.piece_bytes[i] for i in ids)

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of `ids`; bytes that are not UTF-8 become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def save(self, path: epath.PathLike) -> None:
        """Writes the model to a file that any SentencePiece reads."""
        epath.Path(path).write_bytes(self.model)


def load_tokenizer(path: epath.PathLike) -> Tokenizer:
    """Reads a SentencePiece model; UserError where there is none or it can't be read."""
    path = epath.Path(path)
    if not path.exists():
        raise UserError(f"no tokenizer at '{path}'; run prepare, which makes one")
    model = path.read_bytes()
    try:
        proto = _ModelProto.FromString(model)
        tokenizer = Tokenizer(model)
        tokenizer.vocab_size  # noqa: B018 (parses the model)
    except (DecodeError, RuntimeError):
        raise UserError(
            f"'{path}' is not a SentencePiece model, or is damaged; restore it, or prepare the "
            "stories again into another folder"
        ) from None
    if not _is_lossless(proto):
        raise UserError(
            f"'{path}' is a SentencePiece model of another kind, which changes spaces or "
            "characters; use one that prepare made"
        )
    return tokenizer


def _is_lossless(proto: Any) -> bool:
    trainer, normalizer = proto.trainer_spec, proto.normalizer_spec
    return (
        trainer.byte_fallback
        and trainer.split_by_whitespace
        and not trainer.treat_whitespace_as_suffix
        and list(trainer.user_defined_symbols) == ["\n"]
        and normalizer.name == "identity"
        and not (normalizer.add_dummy_prefix or normalizer.remove_extra_whitespaces)
    )


def default_vocab_size(text_bytes: int) -> int:
    """Returns 4096, or for little text a power of two: a piece per 2 kB or more, at least 512."""
    return min(MAX_VOCAB, max(MIN_VOCAB, 1 << (max(text_bytes // 2048, 1).bit_length() - 1)))


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Trains BPE on `texts`, the same model for the same texts on every machine.

    The vocabulary has `vocab_size` ids, or as many as the text gives rise to. UserError when the
    size leaves no room beside the 256 bytes, or there is no text.
    """
    if vocab_size <= _NUM_SPECIAL:
        raise UserError(
            f"a vocabulary of {vocab_size} is too small; the bytes and control ids alone take "
            f"{_NUM_SPECIAL}: choose --vocab_size={MIN_VOCAB} or more"
        )
    sentences = [s for text in texts for s in _sentences(text)]
    if not sentences:
        raise UserError("there is no text to train a tokenizer on; give stories that are not empty")
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=_with_common_characters(sentences, vocab_size),
        model_writer=model,
        vocab_size=vocab_size,
        hard_vocab_limit=False,
        model_type="bpe",
        byte_fallback=True,
        character_coverage=1.0,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
        allow_whitespace_only_pieces=True,
        split_digits=True,
        user_defined_symbols=["\n"],
        pad_id=0,
        bos_id=1,
        eos_id=2,
        unk_id=3,
        max_sentence_length=4 * _SENTENCE,  # bytes
        num_threads=2,  # stored in the model, so a fixed number keeps its bytes the same
        minloglevel=2,
    )
    return Tokenizer(model.getvalue())


def _sentences(text: str) -> Iterator[str]:
    """Yields the lines of `text`, long ones cut; newlines never join a piece, so none is missed."""
    for line in text.replace(_RESERVED, " ").split("\n"):
        for start in range(0, len(line), _SENTENCE):
            yield line[start : start + _SENTENCE]


def _with_common_characters(sentences: list[str], vocab_size: int) -> Iterator[str]:
    """Yields the sentences with rare characters blanked out, which leaves those to the bytes.

    SentencePiece makes a piece of every character it sees and fails when they exceed the
    vocabulary; at most half of the free pieces go to single characters.
    """
    batches = (sentences[i : i + _BATCH] for i in range(0, len(sentences), _BATCH))
    counts = sum(map(_character_counts, batches), np.zeros(sys.maxunicode + 1, np.int64))
    ranked = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    shares = np.cumsum(counts[ranked]) / counts.sum()
    enough = int(np.searchsorted(shares, _COVERAGE)) + 1
    rare = ranked[min(enough, (vocab_size - _NUM_SPECIAL) // 2) :]
    if not len(rare):
        return iter(sentences)
    pattern = re.compile(f"[{re.escape(''.join(map(chr, rare)))}]")
    return (pattern.sub(" ", sentence) for sentence in sentences)


def _character_counts(sentences: Iterable[str]) -> np.ndarray:
    codes = np.frombuffer("".join(sentences).encode("utf-32-le"), np.uint32)
    return np.bincount(codes, minlength=sys.maxunicode + 1)


def _piece_bytes(processor: sentencepiece.SentencePieceProcessor, i: int) -> bytes:
    piece = processor.id_to_piece(i)
    if processor.is_control(i) or processor.is_unknown(i):
        return b""
    if processor.is_byte(i):
        return bytes([int(piece[1:-1], 16)])
    return piece.replace(_SPACE, " ").encode()
