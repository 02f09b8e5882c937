"""The TFDS data set holds every story once, on one side, with its record, counts and digests."""

import hashlib
import json
import pickle
from typing import Any

import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core import example_serializer

from tests.conftest import make_stories
from tinyjax import workers
from tinyjax.errors import UserError
from tinyjax.stories import builder, examples, packaging, sources, splitting, world
from tinyjax.stories.packaging import Reading
from tinyjax.stories.splitting import EMPTY, OVERLAP, TRAIN, VALIDATION, Rule
from tinyjax.textio import Record

MEASURED = Rule()  # the share of validation is measured on the stories themselves
RECORDS = [
    Record("Tom ran.", ("run",), ("Dialogue", "Twist"), "Tom runs.", "GPT-4", (("Who?", "Tom"),)),
    Record("Anna sang.", sentence="Anna sang.", given=("summary", "sentence")),
    Record("Zoë\n\nslept. ▁ 😀", words=("sleep", "bed")),
]


def routed(records, rule=MEASURED) -> dict[str, list[str]]:
    split = {}
    for destination, record, _ in splitting.route(records, rule):
        split.setdefault(destination, []).append(record.text)
    return split


def source_file(folder, records):
    folder.mkdir(exist_ok=True)
    path = folder / "source.jsonl"
    rows = [{"text": r.text, "words": r.words, "features": r.features} for r in records]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def build(folder, records, beam="", rules=(), **options):
    source = str(source_file(folder, records))
    config = builder.StoriesConfig(name="local", source=source, reading=Reading(rules=rules), **options)
    with workers.local_workers() as map_jobs:
        return builder.build(config, folder / "tfds", lambda stories: None, map_jobs=map_jobs, beam=beam)


def texts_of(folder, split: str) -> list[str]:
    return [text for shard in builder.shards(folder, split) for text in examples.read_texts(shard)]


def contents(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("count", [2, 3, 10, 100, 3000])
def test_splits_are_disjoint_and_whole(count):
    texts = make_stories(count)
    split = routed([Record(text) for text in texts])
    assert sorted(split[TRAIN] + split[VALIDATION]) == sorted(texts)
    assert len(split[VALIDATION]) == splitting.validation_count(count)
    assert len(split[TRAIN]) > 0


def test_share_of_validation_holds_beyond_the_head(monkeypatch):
    monkeypatch.setattr(splitting, "_HEAD_STORIES", 1000)
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


def test_given_validation_set_is_kept_out_of_train(tmp_path):
    train, validation = make_stories(30), make_stories(12)[4:]
    given = source_file(tmp_path / "given", [Record(text) for text in [*validation, ""]])
    folder, metadata = build(tmp_path, [Record(text) for text in [*train, ""]], validation=str(given))
    assert texts_of(folder, VALIDATION) == validation
    assert texts_of(folder, TRAIN) == [text for text in train if text not in validation]
    assert metadata["dropped"] == {EMPTY: 2, OVERLAP: len(validation)}


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
        assert examples.encode_record(record) == expected.SerializeToString(deterministic=True)
        assert examples.decode_record(examples.encode_record(record)) == record


def test_opens_like_any_tfds_data_set(tmp_path):
    records = [Record(text, ("a", "b"), ("Twist",)) for text in make_stories(40)]
    folder, metadata = build(tmp_path, records)
    opened: Any = tfds.builder_from_directory(folder)
    assert opened.info.full_name == "tinyjax_stories/local/1.0.0"
    rows = [row for split in splitting.SPLITS for row in opened.as_data_source(split)]
    assert sorted(row["text"].decode() for row in rows) == sorted(r.text for r in records)
    assert list(rows[0]["words"]) == [b"a", b"b"]
    assert dict(opened.info.metadata) == metadata
    pickle.dumps(opened.as_data_source("train"))


def test_counts_bytes_and_digests(tmp_path):
    folder, metadata = build(tmp_path, [Record(text) for text in [*make_stories(40), ""]])
    assert metadata["dropped"] == {EMPTY: 1, OVERLAP: 0}
    for name in splitting.SPLITS:
        texts = texts_of(folder, name)
        digests = b"".join(hashlib.sha256(text.encode()).digest() for text in texts)
        assert metadata["splits"][name] == {
            "stories": len(texts),
            "bytes": sum(len(text.encode()) for text in texts),
            "sha256": hashlib.sha256(hashlib.sha256(digests).digest()).hexdigest(),
        }


def test_shards_keep_the_order_and_two_builds_are_equal(tmp_path, monkeypatch):
    monkeypatch.setattr(packaging, "SHARD_BYTES", 4096)
    records = [Record(text) for text in make_stories(60)]
    first, second = (build(tmp_path / name, records)[0] for name in ("a", "b"))
    shards = builder.shards(first, TRAIN)
    assert len(shards) > 3
    assert shards[1].name == f"tinyjax_stories-train.array_record-00001-of-{len(shards):05d}"
    texts = texts_of(first, TRAIN)
    assert texts == [record.text for record in records if record.text in set(texts)]
    strided = examples.read_texts(shards[0], stride=3)
    assert strided == examples.read_texts(shards[0])[::3]
    assert contents(first) == contents(second)


class TestManyJobs:
    """A source cut into many jobs gives the same stories, and the same bytes whoever does the jobs."""

    @pytest.fixture
    def small_jobs(self, monkeypatch):
        monkeypatch.setattr(sources, "PART_BYTES", 10_000)

    @pytest.mark.slow
    def test_processes_and_beam_write_the_same_bytes(self, tmp_path, small_jobs, monkeypatch):
        records = [Record(text, ("a", "b")) for text in [*make_stories(700), ""]]
        folder, metadata = build(tmp_path / "processes", records)
        by_beam, told = build(tmp_path / "beam", records, beam="runner=DirectRunner,direct_num_workers=1")
        monkeypatch.setattr(workers, "num_cores", lambda: 1)
        alone, _ = build(tmp_path / "alone", records)
        assert contents(alone) == contents(folder) == contents(by_beam)
        assert metadata == told
        assert metadata["dropped"][EMPTY] == 1

    def test_stories_keep_their_order_and_small_shards_become_one(self, tmp_path, small_jobs):
        records = [Record(text) for text in make_stories(700)]
        folder, _ = build(tmp_path, records)
        texts = texts_of(folder, TRAIN)
        assert texts == [record.text for record in records if record.text in set(texts)]
        held_out = texts_of(folder, VALIDATION)
        assert sorted(texts + held_out) == sorted(record.text for record in records)
        assert 2 < len(held_out) < 40
        assert len(builder.shards(folder, TRAIN)) == len(builder.shards(folder, VALIDATION)) == 1

    def test_beam_passes_on_what_is_wrong_with_the_source(self, tmp_path, small_jobs):
        source = source_file(tmp_path, [Record(text) for text in make_stories(200)])
        with source.open("a") as file:
            file.write("no JSON")
        config = builder.StoriesConfig(name="local", source=str(source))
        with pytest.raises(UserError, match="line 201 is not valid JSON"):
            builder.build(config, tmp_path / "tfds", lambda stories: None, beam="runner=DirectRunner")

    def test_options_that_beam_does_not_take(self, tmp_path, small_jobs):
        with pytest.raises(UserError, match=r"can't work with these options: .*DirectRunner.*; mend --beam"):
            build(tmp_path, [Record(text) for text in make_stories(20)], beam="runner=Nobody")

    def test_duplicates_go_wherever_they_are(self, tmp_path, small_jobs):
        texts = make_stories(300)
        records = [Record(text) for text in [*texts, "", *texts[:50], *texts[:50]]]
        folder, metadata = build(tmp_path, records, rules=("duplicates",))
        assert metadata["dropped"]["duplicates"] == 100
        assert sorted(texts_of(folder, TRAIN) + texts_of(folder, VALIDATION)) == sorted(texts)

    def test_near_duplicates_go_too(self, tmp_path, small_jobs):
        texts = make_stories(100)
        near = [text.replace("Once upon a time", "Once upon a day", 1) for text in texts if len(text) > 400]
        assert len(near) > 10
        folder, metadata = build(tmp_path, [Record(t) for t in [*texts, *near]], rules=("near_duplicates",))
        assert metadata["dropped"]["near_duplicates"] >= len(near)
        kept = texts_of(folder, TRAIN) + texts_of(folder, VALIDATION)
        assert set(kept) <= set(texts)


def test_cleaning_mends_and_drops(tmp_path):
    records = [Record(text) for text in make_stories(40)]
    records += [
        Record("Tom said, â€œHi there, how are you, my dear friend?â€\x9d And then he was happy. " * 2)
    ]
    records += [Record(make_stories(41)[40] + " And then she went to the")]
    folder, metadata = build(tmp_path, records, rules=("mojibake", "truncated"))
    assert metadata["mended"] == {"mojibake": 1}
    assert metadata["dropped"]["truncated"] == 1
    texts = texts_of(folder, TRAIN) + texts_of(folder, VALIDATION)
    assert len(texts) == 41
    assert sum("“Hi there" in text for text in texts) == 1


def test_nothing_left_to_train_on(tmp_path):
    validation = tmp_path / "v.txt"
    validation.write_text("<|endoftext|>".join(make_stories(3)), encoding="utf-8")
    with pytest.raises(UserError, match=r"no story of .* is left to train on: 3 are in the"):
        build(tmp_path, [Record(text) for text in make_stories(3)], validation=str(validation))


@pytest.mark.parametrize("source", ["world:", "world:x", "world:1", "world:5:1:2", "world:5:-1"])
def test_misspelt_world(source):
    with pytest.raises(UserError, match="is no source; the embedded stories are world:COUNT"):
        sources.parse_world(source)


def test_world_with_and_without_seed():
    assert sources.parse_world("world:20000") == (20000, 0)
    assert sources.parse_world("world:500:7") == (500, 7)


def test_embedded_stories_bring_their_record():
    def told(source):
        return [record for job in sources.jobs(source, "utf-8") for record in sources.read(job)]

    records = told("world:3:1")
    assert [len(record.words) for record in records] == [3, 3, 3]
    assert all(record.summary and record.facts for record in records)
    assert records == told("world:3:1") != told("world:3:2")


def test_embedded_stories_are_those_of_the_world_whatever_the_jobs(monkeypatch):
    monkeypatch.setattr(sources, "_WORLD_STORIES", 7)
    jobs = sources.jobs("world:30:2", "utf-8")
    assert len(jobs) == 5
    texts = [record.text for job in jobs for record in sources.read(job)]
    assert texts == [story.text for story in world.stories(30, seed=2)]
