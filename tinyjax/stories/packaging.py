"""From a job's stories to shards: read, clean, route to a split, write; what a worker process does.

Shards are cut where jobs are, so the same source gives the same bytes, whoever does the jobs.
"""

import collections
import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from etils import epath

from tinyjax import recordio
from tinyjax.errors import UserError
from tinyjax.stories import sources
from tinyjax.stories.clean import clean
from tinyjax.stories.examples import encode_record
from tinyjax.stories.sources import Job
from tinyjax.stories.splitting import EMPTY, SPLITS, VALIDATION, Rule, route, text_digest
from tinyjax.textio import Record
from tinyjax.workers import Mapper

# Rules that look at all stories; a story is marked by its place in this tuple, 0 where it is kept.
_MARKS = ("", "duplicates", "near_duplicates")
_DUPLICATE, _NEAR_DUPLICATE = 1, 2
_MAX_COMPARED = 500_000  # stories whose texts are held in memory to find those that are nearly the same

SHARD_BYTES = 1 << 24  # a shard is the unit of tokenizing and packing, which hold one in memory


@dataclasses.dataclass(frozen=True)
class Reading:
    """How the stories of a source are read and cleaned."""

    encoding: str = "utf-8"
    text_key: str = ""
    rules: tuple[str, ...] = ()  # of tinyjax.stories.clean


@dataclasses.dataclass(frozen=True)
class Shard:
    """A file of records, not yet named by its place among all shards."""

    path: epath.Path
    stories: int
    bytes: int  # of the records


@dataclasses.dataclass
class Split:
    """What one job, or all together, wrote of a split."""

    shards: list[Shard] = dataclasses.field(default_factory=list)
    stories: int = 0
    text_bytes: int = 0
    digest: bytes = b""  # of the texts' digests, in order


@dataclasses.dataclass
class Tally:
    """What became of stories."""

    counts: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    """By destination, or by why they are left out."""
    mended: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    """By the cleaning rules that changed them."""

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.counts + other.counts, self.mended + other.mended)


@dataclasses.dataclass
class Packaged:
    """What came of a job."""

    splits: dict[str, Split]
    tally: Tally
    held_out: frozenset[bytes]  # digests of the validation stories, where the job is of such


def read_clean(job: Job, reading: Reading, tally: Tally) -> Iterator[Record]:
    """Streams a job's stories as the rules leave them; counts those that a rule drops or mends."""
    for record in sources.read(job, reading.encoding, reading.text_key):
        if not reading.rules or not record.text:
            yield record
            continue
        text, fired = clean(record.text, reading.rules)
        if text is None:
            tally.counts[fired[-1]] += 1
            continue
        tally.mended.update(fired)
        yield record if text == record.text else dataclasses.replace(record, text=text)


def package(
    numbered: tuple[int, Job, np.ndarray],
    *,
    reading: Reading,
    rule: Rule | None,
    prefix: epath.Path,
) -> Packaged:
    """Writes the shards of one job.

    Args:
      numbered: the job's place in the source, the job, and the marks of its stories (none: keep all).
      reading: how it is read.
      rule: of the splits; None puts all stories into validation.
      prefix: of the shards' paths.
    """
    number, job, marks = numbered
    writers = {name: _Writer(f"{prefix}-{name}.part-{number:05d}") for name in SPLITS}
    tally, held_out = Tally(), set()
    stories = _kept(read_clean(job, reading, tally), marks, tally)
    for destination, record, digest in _validation(stories) if rule is None else route(stories, rule):
        tally.counts[destination] += 1
        if destination in writers:
            writers[destination].add(record, digest)
        if rule is None:
            held_out.add(digest)
    splits = {name: writer.finish() for name, writer in writers.items()}
    return Packaged(splits, tally, frozenset(held_out))


def _validation(stories: Iterable[Record]) -> Iterator[tuple[str, Record, bytes]]:
    for record in stories:
        yield (VALIDATION if record.text else EMPTY), record, text_digest(record.text)


def _kept(stories: Iterator[Record], marks: np.ndarray, tally: Tally) -> Iterator[Record]:
    """Yields the stories that aren't marked, and counts the others."""
    if not len(marks):
        yield from stories
        return
    for mark, record in zip(marks, stories, strict=True):
        if mark:
            tally.counts[_MARKS[mark]] += 1
        else:
            yield record


class _Writer:
    """Writes the stories of a split into shards of about SHARD_BYTES."""

    def __init__(self, prefix: str):
        self.prefix = prefix
        self.pending: list[bytes] = []
        self.pending_bytes = 0
        self.split = Split()
        self.digest = hashlib.sha256()

    def add(self, record: Record, digest: bytes) -> None:
        data = encode_record(record)
        self.pending.append(data)
        self.pending_bytes += len(data)
        self.split.stories += 1
        self.split.text_bytes += len(record.text.encode())
        self.digest.update(digest)
        if self.pending_bytes >= SHARD_BYTES:
            self.flush()

    def flush(self) -> None:
        path = epath.Path(f"{self.prefix}-{len(self.split.shards):03d}")
        recordio.write_records(path, self.pending)
        self.split.shards.append(Shard(path, len(self.pending), self.pending_bytes))
        self.pending, self.pending_bytes = [], 0

    def finish(self) -> Split:
        if self.pending:
            self.flush()
        self.split.digest = self.digest.digest()
        return self.split


# Stories that occur more than once are found before anything is written.


def mark_repeated(jobs: Sequence[Job], reading: Reading, map_jobs: Mapper) -> list[np.ndarray]:
    """Returns for each job the marks of its stories, uint8[stories], where a rule asks for it, else none."""
    exact, near = (_MARKS[mark] in reading.rules for mark in (_DUPLICATE, _NEAR_DUPLICATE))
    if not exact and not near:
        return [np.empty(0, np.uint8)] * len(jobs)
    digests = list(map_jobs(functools.partial(story_digests, reading=reading), jobs))
    every = np.concatenate(digests)
    marks = np.full(len(every), _DUPLICATE, np.uint8)
    marks[np.unique(every, return_index=True)[1]] = 0  # the first of each
    marks[every == 0] = 0  # an empty story is counted as such
    if near:
        _mark_near(marks, jobs, reading, map_jobs)
    return np.split(marks, np.cumsum([len(of_job) for of_job in digests])[:-1])


def story_digests(job: Job, *, reading: Reading) -> np.ndarray:
    """Returns 64 bits of the digest of each story of a job, uint64[stories]; 0 where it is empty."""
    digests = [text_digest(r.text)[:8] if r.text else bytes(8) for r in read_clean(job, reading, Tally())]
    return np.frombuffer(b"".join(digests), np.uint64)


def _mark_near(marks: np.ndarray, jobs: Sequence[Job], reading: Reading, map_jobs: Mapper) -> None:
    """Marks what is nearly the same as an earlier story that stays."""
    from tinyjax.stories.similarity import near_duplicates  # an extra

    compared = np.flatnonzero(marks == 0)
    if len(compared) > _MAX_COMPARED:
        raise UserError(
            f"--clean=near_duplicates compares stories in memory, at most {_MAX_COMPARED:,}, and there are "
            f"{len(compared):,}; leave it out (duplicates finds equal ones among any number)"
        )
    every = [text for of_job in map_jobs(functools.partial(_texts, reading=reading), jobs) for text in of_job]
    for first, second, _ in sorted(near_duplicates([every[i] for i in compared])):
        if not marks[compared[first]]:
            marks[compared[second]] = _NEAR_DUPLICATE


def _texts(job: Job, *, reading: Reading) -> list[str]:
    return [record.text for record in read_clean(job, reading, Tally())]


# Shards get their names when their number is known.


def merge(splits: Iterable[Split]) -> Split:
    """Returns the jobs' shards of a split as one."""
    splits = list(splits)
    return Split(
        shards=[shard for split in splits for shard in split.shards],
        stories=sum(split.stories for split in splits),
        text_bytes=sum(split.text_bytes for split in splits),
        digest=hashlib.sha256(b"".join(split.digest for split in splits)).digest(),
    )


def name_shards(shards: Sequence[Shard], name: Callable[[int, int], epath.Path]) -> list[Shard]:
    """Gives shards their final names, `name(index, count)`; small neighbours become one."""
    groups = _groups(shards)
    named = []
    for index, group in enumerate(groups):
        path = name(index, len(groups))
        if len(group) == 1:
            group[0].path.rename(path)
        else:
            records = itertools.chain.from_iterable(recordio.read_records(shard.path) for shard in group)
            recordio.write_records(path, records)
            for shard in group:
                shard.path.unlink()
        named.append(Shard(path, sum(s.stories for s in group), sum(s.bytes for s in group)))
    return named


def _groups(shards: Sequence[Shard]) -> list[list[Shard]]:
    """Groups neighbours as long as together they are no larger than a shard."""
    groups: list[list[Shard]] = []
    for shard in shards:
        if groups and sum(s.bytes for s in groups[-1]) + shard.bytes <= SHARD_BYTES:
            groups[-1].append(shard)
        else:
            groups.append([shard])
    return groups
