"""The TFDS data set holds every story once, on one side, with its record, counts and digests."""

import hashlib
import json
import pickle
from typing import Any

import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core import example_serializer

from tests.conftest import make_stories
from tinyjax import recordio
from tinyjax.errors import UserError
from tinyjax.stories import builder
from tinyjax.stories.builder import EMPTY, OVERLAP, TRAIN, VALIDATION
from tinyjax.textio import Record

RECORDS = [
    Record("Tom ran.", ("run",), ("Dialogue", "Twist"), "Tom runs.", "GPT-4", (("Who?", "Tom"),)),
    Record("Anna sang."),
    Record("Zoë\n\nslept. ▁ 😀", words=("sleep", "bed")),
]


def routed(records, validation=None) -> dict[str, list[str]]:
    split = {}
    for destination, record, _ in builder.split_stories(records, validation):
        split.setdefault(destination, []).append(record.text)
    return split


def build(folder, records, **options):
    source = folder / "source.jsonl"
    rows = [{"text": r.text, "words": r.words, "features": r.features} for r in records]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = builder.StoriesConfig(name="local", source=str(source), **options)
    return builder.build(config, folder / "tfds", lambda stories: None)


@pytest.mark.parametrize("count", [2, 3, 10, 100, 3000])
def test_splits_are_disjoint_and_whole(count):
    texts = make_stories(count)
    split = routed([Record(text) for text in texts])
    assert sorted(split[TRAIN] + split[VALIDATION]) == sorted(texts)
    assert len(split[VALIDATION]) == builder.validation_count(count)
    assert len(split[TRAIN]) > 0


def test_share_of_validation_holds_beyond_the_head(monkeypatch):
    monkeypatch.setattr(builder, "_HEAD_STORIES", 1000)
    split = routed(Record(text) for text in make_stories(5000))
    assert 0.01 < len(split[VALIDATION]) / 5000 < 0.04


def test_equal_texts_share_a_side():
    texts = make_stories(50) * 3
    split = routed([Record(text) for text in texts])
    assert not set(split[TRAIN]) & set(split[VALIDATION])
    assert len(split[TRAIN]) + len(split[VALIDATION]) == 150


def test_the_split_does_not_depend_on_the_order():
    texts = make_stories(300)
    forwards = routed([Record(text) for text in texts])
    backwards = routed([Record(text) for text in reversed(texts)])
    assert sorted(forwards[VALIDATION]) == sorted(backwards[VALIDATION])


def test_given_validation_set_is_kept_out_of_train():
    train, validation = make_stories(30), make_stories(12)[4:]
    split = routed([Record(t) for t in [*train, ""]], [Record(t) for t in [*validation, ""]])
    assert split[VALIDATION] == validation
    assert split[TRAIN] == [text for text in train if text not in validation]
    assert sorted(split[OVERLAP]) == sorted(validation)
    assert split[EMPTY] == ["", ""]


def test_one_story_is_not_enough():
    with pytest.raises(UserError, match="found 1 different story, and at least 2 are needed"):
        routed([Record("One."), Record("One."), Record("")])


def test_encoding_is_that_of_tfds():
    features = builder.TinyjaxStories(data_dir="unused").info.features
    serializer = example_serializer.ExampleSerializer(features.get_serialized_info())
    for record in RECORDS:
        facts = [{"question": question, "answer": answer} for question, answer in record.facts]
        example = record.__dict__ | {"facts": facts}
        expected = serializer.get_tf_example(features.encode_example(example))
        assert builder.encode_record(record) == expected.SerializeToString(deterministic=True)


def test_opens_like_any_tfds_data_set(tmp_path):
    records = [Record(text, ("a", "b"), ("Twist",)) for text in make_stories(40)]
    folder, metadata = build(tmp_path, records)
    opened: Any = tfds.builder_from_directory(folder)
    assert opened.info.full_name == "tinyjax_stories/local/1.0.0"
    rows = [row for split in builder.SPLITS for row in opened.as_data_source(split)]
    assert sorted(row["text"].decode() for row in rows) == sorted(r.text for r in records)
    assert list(rows[0]["words"]) == [b"a", b"b"]
    assert dict(opened.info.metadata) == metadata
    pickle.dumps(opened.as_data_source("train"))


def test_counts_bytes_and_digests(tmp_path):
    folder, metadata = build(tmp_path, [Record(text) for text in [*make_stories(40), ""]])
    assert metadata["dropped"] == {EMPTY: 1, OVERLAP: 0}
    for name in builder.SPLITS:
        texts = [t for shard in builder.shards(folder, name) for t in builder.read_texts(shard)]
        digests = b"".join(hashlib.sha256(text.encode()).digest() for text in texts)
        assert metadata["splits"][name] == {
            "stories": len(texts),
            "bytes": sum(len(text.encode()) for text in texts),
            "sha256": hashlib.sha256(digests).hexdigest(),
        }


def test_shards_keep_the_order_and_two_builds_are_equal(tmp_path, monkeypatch):
    monkeypatch.setattr(builder, "SHARD_BYTES", 4096)
    records = [Record(text) for text in make_stories(60)]
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    first, second = (build(tmp_path / name, records)[0] for name in ("a", "b"))
    shards = builder.shards(first, TRAIN)
    assert len(shards) > 3
    assert shards[1].name == f"tinyjax_stories-train.array_record-00001-of-{len(shards):05d}"
    texts = [text for shard in shards for text in builder.read_texts(shard)]
    assert texts == [record.text for record in records if record.text in set(texts)]
    strided = builder.read_texts(shards[0], stride=3)
    assert strided == builder.read_texts(shards[0])[::3]
    for shard in shards:
        assert recordio.read_records(shard) == recordio.read_records(second / shard.name)


def test_nothing_left_to_train_on(tmp_path):
    validation = tmp_path / "v.txt"
    validation.write_text("<|endoftext|>".join(make_stories(3)), encoding="utf-8")
    with pytest.raises(UserError, match=r"no story of .* is left to train on: 3 are in the"):
        build(tmp_path, [Record(text) for text in make_stories(3)], validation=str(validation))


@pytest.mark.parametrize("source", ["world:", "world:x", "world:1", "world:5:1:2", "world:5:-1"])
def test_misspelt_world(source):
    with pytest.raises(UserError, match="is no source; the embedded stories are world:COUNT"):
        builder.parse_world(source)


def test_world_with_and_without_seed():
    assert builder.parse_world("world:20000") == (20000, 0)
    assert builder.parse_world("world:500:7") == (500, 7)


def test_embedded_stories_bring_their_record():
    records = list(builder.world_records("world:3:1"))
    assert [len(record.words) for record in records] == [3, 3, 3]
    assert all(record.summary and record.facts for record in records)
    assert records == list(builder.world_records("world:3:1"))
    assert records != list(builder.world_records("world:3:2"))
