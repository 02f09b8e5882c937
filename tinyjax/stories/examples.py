"""Stories as the tf.Examples of TFDS in ArrayRecord shards, written and read without TensorFlow.

TFDS's own encoder takes longer than all else in packaging together; what is written here is byte for
byte what it would write.
"""

from collections.abc import Sequence
from typing import Any

from etils import epath
from tensorflow_datasets.proto import tf_example_pb2

from tinyjax import recordio
from tinyjax.textio import Record

_Example: Any = tf_example_pb2.Example  # ty: ignore[missing-attribute]


def encode_record(record: Record) -> bytes:
    """Returns the tf.Example that TFDS makes of a record."""
    questions, answers = zip(*record.facts, strict=True) if record.facts else ((), ())
    features = [  # in the order of a serialized map, by name
        _feature(b"facts/answer", answers),
        _feature(b"facts/question", questions),
        _feature(b"features", record.features),
        _feature(b"given", record.given),
        _feature(b"sentence", (record.sentence,)),
        _feature(b"source", (record.source,)),
        _feature(b"summary", (record.summary,)),
        _feature(b"text", (record.text,)),
        _feature(b"words", record.words),
    ]
    return _field(b"".join(features))


def _feature(name: bytes, texts: Sequence[str]) -> bytes:
    """Returns an entry of the map from names to features: field 1 is the name, field 2 a list of bytes."""
    value = _field(b"".join([_field(text.encode()) for text in texts]))
    return _field(_field(name) + b"\x12" + _varint(len(value)) + value)


def _field(data: bytes) -> bytes:
    """Returns bytes as field 1 of a protocol buffer. (The library takes twice as long for an example.)"""
    return b"\x0a" + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    if number < 0x80:
        return _BYTES[number]
    if number < 0x4000:
        return _BYTES[number & 0x7F | 0x80] + _BYTES[number >> 7]
    return _BYTES[number & 0x7F | 0x80] + _varint(number >> 7)


_BYTES = [bytes([value]) for value in range(256)]


def decode_record(data: bytes) -> Record:
    """Returns the record of a tf.Example."""
    feature = _Example.FromString(data).features.feature
    lists = {name: tuple(value.decode() for value in feature[name].bytes_list.value) for name in feature}
    return Record(
        text=lists["text"][0],
        words=lists["words"],
        features=lists["features"],
        summary=lists["summary"][0],
        source=lists["source"][0],
        facts=tuple(zip(lists["facts/question"], lists["facts/answer"], strict=True)),
        sentence=lists["sentence"][0],
        given=lists["given"],
    )


def read_stories(shard: epath.PathLike, stride: int = 1) -> list[Record]:
    """Returns every `stride`-th story of one shard of the data set, in order."""
    return [decode_record(data) for data in recordio.read_records(shard, stride)]


def read_texts(shard: epath.PathLike, stride: int = 1) -> list[str]:
    """Returns the texts of every `stride`-th story of one shard, in order."""
    return [_text(data) for data in recordio.read_records(shard, stride)]


def _text(data: bytes) -> str:
    return _Example.FromString(data).features.feature["text"].bytes_list.value[0].decode()
