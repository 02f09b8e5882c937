"""SentencePiece models, our own and others'."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from google.protobuf.empty_pb2 import Empty  # ty: ignore[missing-module-member]
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from sentencepiece import SentencePieceProcessor

from tinyjax.errors import UserError
from tinyjax.tokenizer.vocabulary import Encode, UnitIds, Vocabulary, encode_whole

_SPACE = "\u2581"  # SentencePiece writes a space so inside its pieces
_BPE = 2

# Settings inside a model: message, field and default (source: sentencepiece_model.proto). They are read by
# number, for the module generated from that file can only be imported with the newest protobuf.
_SETTINGS = {
    "model_type": (2, 3, 1),
    "split_by_whitespace": (2, 22, 1),
    "treat_whitespace_as_suffix": (2, 24, 0),
    "user_defined_symbols": (2, 31, b""),
    "byte_fallback": (2, 35, 0),
    "normalizer": (3, 1, b""),
    "add_dummy_prefix": (3, 3, 1),
    "remove_extra_whitespaces": (3, 4, 1),
    "escape_whitespaces": (3, 5, 1),
}
_LOCAL = {  # what happens in a word depends on nothing around it
    "model_type": [_BPE],
    "byte_fallback": [1],
    "treat_whitespace_as_suffix": [0],
    "normalizer": [b"identity"],
    "escape_whitespaces": [1],
}
_OURS = _LOCAL | {
    "split_by_whitespace": [1],
    "user_defined_symbols": [b"\n"],
    "add_dummy_prefix": [0],
    "remove_extra_whitespaces": [0],
}
_OTHERS = _LOCAL | {"add_dummy_prefix": [1]}

# No piece of our own models reaches over the end of a word or a newline, so that a text can be encoded unit
# by unit. The same holds for words of others' models that have no piece like this:
_UNITS = re.compile(f"\n|{_SPACE}| *[^ \n{_SPACE}]+| +")
_OVER_THE_END_OF_A_WORD = re.compile(f"[^ {_SPACE}][ {_SPACE}]")
_AS_IT_IS = "\0"  # begins a key that is a unit as it is; of other keys, a space goes before


def read_sentencepiece(model: bytes) -> Vocabulary:
    """Reads a serialized SentencePiece model.

    Raises:
      ValueError: it is none.
      UserError: it has no id before or after a text.
    """
    try:
        settings = _read_settings(model)
        processor = SentencePieceProcessor(model_proto=model)
    except (DecodeError, RuntimeError) as error:
        raise ValueError("not a SentencePiece model") from error
    pad_id, bos_id, eos_id = processor.pad_id(), processor.bos_id(), processor.eos_id()
    if min(bos_id, eos_id) < 0:
        missing = "beginning" if bos_id < 0 else "end"
        raise UserError(
            f"the SentencePiece model has no id for the {missing} of a text; use one trained with bos_id and "
            "eos_id"
        )
    adds_prefix = settings["add_dummy_prefix"] == [1] and settings["treat_whitespace_as_suffix"] == [0]
    return Vocabulary(
        pieces=tuple(_piece_bytes(processor, i) for i in range(processor.vocab_size())),
        pad_id=bos_id if pad_id < 0 else pad_id,
        bos_id=bos_id,
        eos_id=eos_id,
        unk_id=processor.unk_id(),
        encode=_encoder(processor, settings),
        prefix=b" " if adds_prefix else b"",
    )


def _read_settings(model: bytes) -> dict[str, list[Any]]:
    """Returns all values of each setting."""
    messages = message_fields(model)
    return {
        name: message_fields(b"".join(messages.get(message, []))).get(number, [default])
        for name, (message, number, default) in _SETTINGS.items()
    }


def message_fields(message: bytes) -> dict[int, list[Any]]:
    """Returns the values of each field of a serialized message, whatever its type, by number."""
    values: dict[int, list[Any]] = {}
    for field in UnknownFieldSet(Empty.FromString(message)):
        values.setdefault(field.field_number, []).append(field.data)
    return values


def _piece_bytes(processor: SentencePieceProcessor, i: int) -> bytes:
    piece = processor.id_to_piece(i)
    if processor.is_control(i) or processor.is_unknown(i):
        return b""
    if processor.is_byte(i):
        return bytes([int(piece[1:-1], 16)])
    return piece.replace(_SPACE, " ").encode()


# Encoding. The fast ways give what SentencePiece gives for the whole text.


def _encoder(processor: SentencePieceProcessor, settings: dict[str, list[Any]]) -> Encode:
    pieces = map(processor.id_to_piece, range(processor.vocab_size()))
    if settings == _OURS:
        return _encode_by_units(processor)
    if _OTHERS.items() <= settings.items() and not any(map(_OVER_THE_END_OF_A_WORD.search, pieces)):
        return _encode_by_words(processor)
    return encode_whole(processor.encode)


def _encode_by_words(processor: SentencePieceProcessor) -> Encode:
    """For models that put a space before a text, and so before each word alone."""
    word_ids, whole = UnitIds(processor.encode), encode_whole(processor.encode)

    def encode(text: str) -> np.ndarray:
        words = text.split(" ")
        return whole(text) if "" in words or _SPACE in text else word_ids.join(words)

    return encode


def _encode_by_units(processor: SentencePieceProcessor) -> Encode:
    """For models of our own, which change nothing, so that spaces and newlines count."""
    literal = [processor.piece_to_id(f"<0x{byte:02X}>") for byte in _SPACE.encode()]

    def encode_unit(key: str) -> Sequence[int]:
        unit = key[1:] if key.startswith(_AS_IT_IS) else "\n" if key == "\n" else f" {key}"
        return literal if unit == _SPACE else processor.encode(unit)  # it would make a space of it

    unit_ids = UnitIds(encode_unit)
    return lambda text: unit_ids.join(_unit_keys(text))


def _unit_keys(text: str) -> list[str]:
    """Splits a text into units, by the fastest way Python has where no two spaces follow each other."""
    if "  " in text or _SPACE in text or _AS_IT_IS in text:
        return [_AS_IT_IS + unit for unit in _UNITS.findall(text)]
    return (_AS_IT_IS + text.replace("\n", f" \n {_AS_IT_IS}")).split(" ")
