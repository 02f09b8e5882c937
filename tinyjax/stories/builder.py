"""The TFDS dataset `tinyjax_stories`: any source of stories as typed, checked ArrayRecord splits.

The builder reads its source once and writes as it reads, so memory stays flat. (TFDS's generator
writer holds up to 1 GB of a split in memory and needs TensorFlow for more, and its feature encoder
takes longer than all else together; so the shards are written here, in the same format.) The
result opens with `tfds.builder_from_directory(...)` and `as_data_source()` like any other.
"""

import collections
import contextlib
import dataclasses
import hashlib
import io
import itertools
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

import tensorflow_datasets as tfds
from absl import logging
from etils import epath
from tensorflow_datasets.core.dataset_builder import FileReaderBuilder
from tensorflow_datasets.proto import tf_example_pb2

from tinyjax import recordio, textio
from tinyjax.errors import UserError
from tinyjax.textio import Record

_Example: Any = tf_example_pb2.Example  # ty: ignore[missing-attribute]

TRAIN, VALIDATION = SPLITS = ("train", "validation")
EMPTY, OVERLAP = "empty", "in_validation"  # why a story is left out
WORLD = "world:"

SHARD_BYTES = 1 << 24  # a shard is the unit of tokenizing and packing, which hold one in memory
_PROGRESS_EVERY = 100  # stories
_HEAD_STORIES, _HEAD_CHARS = 4096, 1 << 26  # what the share of validation is measured on
_VALIDATION_SHARE = 0.02
_FEW = 5  # validation stories at least, of a quarter at most

Progress = Callable[[int], None]  # told the number of stories so far


@dataclasses.dataclass
class StoriesConfig(tfds.core.BuilderConfig):
    """Where the stories come from."""

    source: str = ""  # a file or folder that textio reads, or world:COUNT[:SEED]
    validation: str = ""  # the user's own validation set; empty: chosen by hash of the text
    encoding: str = "utf-8"
    text_key: str = ""


class TinyjaxStories(FileReaderBuilder):
    """Stories with what is known about them, split into train and validation."""

    name = "tinyjax_stories"
    VERSION = tfds.core.Version("1.0.0")
    builder_config_cls = StoriesConfig
    url_infos = None  # nothing is downloaded; TFDS would look for a checksum file beside the code
    progress: Progress = staticmethod(lambda stories: None)

    def _info(self) -> tfds.core.DatasetInfo:
        return _Info(
            builder=self,
            description="Short stories, one an example, with the record of how each was made.",
            features=tfds.features.FeaturesDict(
                {
                    "text": tfds.features.Text(),
                    "words": tfds.features.Sequence(tfds.features.Text()),
                    "features": tfds.features.Sequence(tfds.features.Text()),
                    "summary": tfds.features.Text(),
                    "source": tfds.features.Text(),
                    "facts": tfds.features.Sequence(
                        {"question": tfds.features.Text(), "answer": tfds.features.Text()}
                    ),
                }
            ),
            metadata=tfds.core.MetadataDict(),
            disable_shuffling=True,
        )

    def _download_and_prepare(self, dl_manager: Any, download_config: Any = None) -> None:
        config = self.builder_config
        assert isinstance(config, StoriesConfig)
        stories = _open(config.source, config)
        validation = _open(config.validation, config) if config.validation else None
        splits = {name: _Split(self.data_path / f"{self.name}-{name}") for name in SPLITS}
        counts: collections.Counter[str] = collections.Counter()
        for number, (destination, record, digest) in enumerate(split_stories(stories, validation)):
            if number % _PROGRESS_EVERY == 0:
                self.progress(number)
            counts[destination] += 1
            if destination in splits:
                splits[destination].add(record, digest)
        _check_not_empty(counts, config)
        infos = [splits[name].finish(self._get_filename_template(name)) for name in SPLITS]
        self.info.set_splits(tfds.core.splits.SplitDict(infos))
        assert self.info.metadata is not None
        self.info.metadata.update(
            splits={name: splits[name].summary() for name in SPLITS},
            dropped={reason: counts[reason] for reason in (EMPTY, OVERLAP)},
        )


class _Info(tfds.core.DatasetInfo):
    def initialize_from_bucket(self) -> None:
        """Asks nobody: TFDS would look for this data set on Google Cloud."""


def build(
    config: StoriesConfig, data_dir: epath.PathLike, progress: Progress
) -> tuple[epath.Path, dict[str, Any]]:
    """Builds the data set under `data_dir`, a local folder.

    Returns the folder of its version, and the counts, bytes and digests of its splits. UserError
    for a source that can't be read or holds fewer than two different stories.
    """
    with _quiet():
        builder = TinyjaxStories(config=config, data_dir=data_dir)
        builder.progress = progress
        builder.download_and_prepare(file_format="array_record")  # ty: ignore[missing-argument]
    (epath.Path(data_dir) / "downloads").rmtree()  # TFDS makes it; nothing is downloaded
    return builder.data_path, dict(builder.info.metadata or {})


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """Keeps TFDS's own announcements off the terminal."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)


def split_stories(
    stories: Iterable[Record], validation: Iterable[Record] | None = None
) -> Iterator[tuple[str, Record, bytes]]:
    """Yields (destination, story, sha256 of its text) for every story, keeping the order.

    The destination is a split, or the reason why the story is in none. Equal texts always share a
    destination. Without a given validation set, stories with the smallest hashes are it.
    """
    if validation is None:
        yield from _split_by_hash(stories)
        return
    held_out = set()
    for record in validation:
        digest = text_digest(record.text)
        held_out.add(digest)
        yield (VALIDATION if record.text else EMPTY), record, digest
    for record in stories:
        digest = text_digest(record.text)
        destination = OVERLAP if digest in held_out else TRAIN
        yield (destination if record.text else EMPTY), record, digest


def text_digest(text: str) -> bytes:
    """Returns the SHA-256 of a text's UTF-8."""
    return hashlib.sha256(text.encode()).digest()


def validation_count(distinct: int) -> int:
    """Returns how many of `distinct` stories are for validation: 2 %, but at least a few."""
    return max(round(distinct * _VALIDATION_SHARE), min(_FEW, distinct // 4), 1)


def _split_by_hash(stories: Iterable[Record]) -> Iterator[tuple[str, Record, bytes]]:
    stories = iter(stories)
    head, digests = _head(stories)
    if len(digests) < 2:
        raise UserError(
            f"found {len(digests)} different {'story' if len(digests) == 1 else 'stories'}, and "
            "at least 2 are needed (one to train on, one to validate on); separate the stories "
            f"of a .txt by lines of {textio.SEPARATOR}, or add stories"
        )
    highest = sorted(digests)[validation_count(len(digests)) - 1]
    for record in itertools.chain(head, stories):
        digest = text_digest(record.text)
        destination = VALIDATION if digest <= highest else TRAIN
        yield (destination if record.text else EMPTY), record, digest


def _head(stories: Iterator[Record]) -> tuple[list[Record], set[bytes]]:
    """Takes the first stories, and the digests of their texts, until the share can be set."""
    head: list[Record] = []
    digests: set[bytes] = set()
    size = 0
    for record in stories:
        head.append(record)
        size += len(record.text)
        if record.text:
            digests.add(text_digest(record.text))
        if len(digests) >= 2 and (len(head) >= _HEAD_STORIES or size >= _HEAD_CHARS):
            break
    return head, digests


def _open(source: str, config: StoriesConfig) -> Iterator[Record]:
    if source.startswith(WORLD):
        return world_records(source)
    return textio.read(source, encoding=config.encoding, text_key=config.text_key, keep_empty=True)


def world_records(source: str) -> Iterator[Record]:
    """Yields the embedded stories that `world:COUNT` or `world:COUNT:SEED` names."""
    count, seed = parse_world(source)
    from tinyjax.stories import world  # tells stories; other sources do without it

    for story in world.stories(count, seed=seed):
        yield Record(
            text=story.text,
            words=tuple(story.words),
            features=tuple(story.features),
            summary=story.summary,
            source="world",
            facts=tuple((fact.question, fact.answer) for fact in story.facts),
        )


def parse_world(source: str) -> tuple[int, int]:
    """Returns (count, seed) of `world:COUNT[:SEED]`; UserError when it is not of that form."""
    numbers = source.removeprefix(WORLD).split(":")
    if len(numbers) > 2 or not all(number.isdecimal() for number in numbers) or int(numbers[0]) < 2:
        raise UserError(
            f"'{source}' is no source; the embedded stories are world:COUNT or world:COUNT:SEED "
            "with whole numbers, COUNT 2 or more, as in world:20000"
        )
    return int(numbers[0]), int(numbers[1]) if len(numbers) > 1 else 0


def _check_not_empty(counts: collections.Counter[str], config: StoriesConfig) -> None:
    if not counts[VALIDATION]:
        raise UserError(f"the validation set '{config.validation}' holds no story; give another")
    if not counts[TRAIN]:
        raise UserError(
            f"no story of '{config.source}' is left to train on: {counts[OVERLAP]} are in the "
            f"validation set, {counts[EMPTY]} are empty; give stories that are not in it"
        )


# Writing shards and reading them.


def encode_record(record: Record) -> bytes:
    """Returns the tf.Example that TFDS makes of a record, at many times its speed."""
    example = _Example()
    for name, texts in (
        ("text", [record.text]),
        ("words", record.words),
        ("features", record.features),
        ("summary", [record.summary]),
        ("source", [record.source]),
        ("facts/question", [question for question, _ in record.facts]),
        ("facts/answer", [answer for _, answer in record.facts]),
    ):
        values = example.features.feature[name].bytes_list.value
        values.extend([text.encode() for text in texts])
    return example.SerializeToString(deterministic=True)


def read_texts(shard: epath.PathLike, stride: int = 1) -> list[str]:
    """Returns the texts of every `stride`-th story of one shard of the data set, in order."""
    return [_text(data) for data in recordio.read_records(shard, stride)]


def shards(version_dir: epath.Path, split: str) -> list[epath.Path]:
    """Returns the files of a split, in order."""
    return sorted(version_dir.glob(f"{TinyjaxStories.name}-{split}.*"))


def _text(data: bytes) -> str:
    example = _Example.FromString(data)
    return example.features.feature["text"].bytes_list.value[0].decode()


class _Split:
    """A split being written: shards are named when their number is known."""

    def __init__(self, prefix: epath.Path):
        self.prefix = prefix
        self.pending: list[bytes] = []
        self.pending_bytes = 0
        self.shard_lengths: list[int] = []
        self.num_bytes = 0
        self.text_bytes = 0
        self.digest = hashlib.sha256()

    def add(self, record: Record, digest: bytes) -> None:
        data = encode_record(record)
        self.pending.append(data)
        self.pending_bytes += len(data)
        self.text_bytes += len(record.text.encode())
        self.digest.update(digest)
        if self.pending_bytes >= SHARD_BYTES:
            self.flush()

    def flush(self) -> None:
        recordio.write_records(self.shard(len(self.shard_lengths)), self.pending)
        self.shard_lengths.append(len(self.pending))
        self.num_bytes += self.pending_bytes
        self.pending, self.pending_bytes = [], 0

    def shard(self, index: int) -> epath.Path:
        return epath.Path(f"{self.prefix}.part-{index:05d}")

    def finish(self, template: Any) -> tfds.core.SplitInfo:
        if self.pending:
            self.flush()
        count = len(self.shard_lengths)
        for i in range(count):
            self.shard(i).rename(template.sharded_filepath(shard_index=i, num_shards=count))
        return tfds.core.SplitInfo(
            name=template.split,
            shard_lengths=self.shard_lengths,
            num_bytes=self.num_bytes,
            filename_template=template,
        )

    def summary(self) -> dict[str, Any]:
        return {
            "stories": sum(self.shard_lengths),
            "bytes": self.text_bytes,
            "sha256": self.digest.hexdigest(),  # of the SHA-256 of each text, in order
        }
