"""SentencePiece models piece by piece: taken apart for formats that list them, and put together again.

Messages are read and written by field number, for the module that is generated from
sentencepiece_model.proto can only be imported with the newest protobuf.
"""

import dataclasses
import enum
import struct

from tinyjax.errors import UserError
from tinyjax.tokenizer import Tokenizer
from tinyjax.tokenizer.model import is_json
from tinyjax.tokenizer.sentencepieces import message_fields

SPACE = "\u2581"  # how a piece writes a space
_TRAINER, _NORMALIZER = 2, 3  # fields of a model; its pieces are field 1
_END = 47  # of the trainer's fields: the piece after a text
_BPE = 2


class Kind(enum.IntEnum):
    """What a piece is; GGUF numbers them the same."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4  # found in a text before all others
    UNUSED = 5
    BYTE = 6


@dataclasses.dataclass(frozen=True)
class Piece:
    """A piece as SentencePiece writes it: with a space as U+2581, a byte as <0x0A>."""

    text: str
    score: float = 0.0  # of float32's precision
    kind: Kind = Kind.NORMAL


@dataclasses.dataclass(frozen=True)
class Pieces:
    """A SentencePiece BPE model that falls back to bytes and changes no text, whitespace included."""

    pieces: tuple[Piece, ...]  # in the order of their ids
    bos_id: int
    eos_id: int
    pad_id: int  # -1: none
    adds_space: bool  # before every text

    def model(self) -> bytes:
        """Returns the serialized model."""
        return b"".join(_field(1, _piece(piece)) for piece in self.pieces) + self._settings()

    def _settings(self) -> bytes:
        texts, kinds = ([getattr(piece, name) for piece in self.pieces] for name in ("text", "kind"))
        unk_id = kinds.index(Kind.UNKNOWN)
        user_defined = [piece.text for piece in self.pieces if piece.kind is Kind.USER_DEFINED]
        ids = {40: unk_id, 41: self.bos_id, 42: self.eos_id, 43: self.pad_id}
        named = {45: unk_id, 46: self.bos_id, _END: self.eos_id} | (
            {48: self.pad_id} if self.pad_id >= 0 else {}
        )
        trainer = [
            _field(3, _BPE),
            _field(4, len(texts)),
            *(_field(31, text) for text in user_defined),
            _field(35, 1),  # bytes for what has no piece
            *(_field(number, i) for number, i in ids.items()),
            *(_field(number, texts[i]) for number, i in named.items()),
        ]
        normalizer = [_field(1, "identity"), _field(3, int(self.adds_space)), _field(4, 0)]
        return _field(_TRAINER, b"".join(trainer)) + _field(_NORMALIZER, b"".join(normalizer))


def read_pieces(tokenizer: Tokenizer, program: str) -> Pieces:
    """Takes a SentencePiece model apart.

    Raises:
      UserError: it is another kind of tokenizer, or one that `program` can't imitate.
    """
    fields = {} if is_json(tokenizer.model) else message_fields(tokenizer.model)
    trainer = message_fields(b"".join(fields.get(_TRAINER, [])))
    if trainer.get(3, [1])[-1] != _BPE or trainer.get(35, [0])[-1] != 1:
        raise UserError(
            f"{program} knows SentencePiece BPE with bytes to fall back to, and this model's tokenizer is of "
            "another kind; export with --format=hf, which holds it as it is"
        )
    pieces = tuple(map(_read_piece, fields[1]))
    adds_space = tokenizer.prefix_bytes > 0
    return Pieces(pieces, tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id, adds_space)


def ending_with(tokenizer: Tokenizer, control_id: int) -> Tokenizer:
    """Returns a SentencePiece model as it is, but for the control piece that ends a text."""
    piece = _read_piece(message_fields(tokenizer.model)[1][control_id]).text
    # Serialized messages that follow each other are merged, and the later value holds.
    return Tokenizer(tokenizer.model + _field(_TRAINER, _field(_END, piece)))


def _read_piece(message: bytes) -> Piece:
    fields = message_fields(message)
    (score,) = struct.unpack("<f", struct.pack("<I", fields.get(2, [0])[-1]))
    return Piece(fields[1][-1].decode(), score, Kind(fields.get(3, [Kind.NORMAL])[-1]))


def _piece(piece: Piece) -> bytes:
    return _field(1, piece.text) + _field(2, piece.score) + _field(3, int(piece.kind))


def _field(number: int, value: int | float | str | bytes) -> bytes:
    """Serializes a field: an int as a varint, a float as 32 bits, text and messages with their length."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value & (1 << 64) - 1)
    if isinstance(value, float):
        return _varint(number << 3 | 5) + struct.pack("<f", value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    """Writes seven bits a byte, the lowest first; all but the last byte have the highest bit set."""
    return b"".join(
        bytes([(value >> shift & 0x7F) | (0x80 if value >> shift + 7 else 0)])
        for shift in range(0, max(value.bit_length(), 1), 7)
    )
