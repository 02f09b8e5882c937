"""Sources of stories cut into parts, each of which can be read by itself, in any process."""

import dataclasses
from collections.abc import Iterable, Iterator

from tinyjax import textio
from tinyjax.errors import UserError
from tinyjax.textio import Record

WORLD = "world:"
PART_BYTES = 1 << 24  # what one job reads; about the size of a shard
_WORLD_STORIES = 1000  # told by one job


@dataclasses.dataclass(frozen=True)
class WorldPart:
    """Some of the embedded stories."""

    seed: int
    start: int
    count: int


Part = textio.Part | WorldPart
Job = tuple[Part, ...]  # read by one process, one after the other


def jobs(source: str, encoding: str) -> list[Job]:
    """Cuts a source into jobs of about PART_BYTES; UserError where there is nothing to read."""
    if source.startswith(WORLD):
        count, seed = parse_world(source)
        starts = range(0, count, _WORLD_STORIES)
        return [(WorldPart(seed, start, min(_WORLD_STORIES, count - start)),) for start in starts]
    files = textio.find(source, encoding=encoding).files
    return list(_grouped(part for file in files for part in textio.cut(file, PART_BYTES, encoding)))


def _grouped(parts: Iterable[textio.Part]) -> Iterator[Job]:
    """Puts small files together, so that a folder of thousands is not thousands of jobs."""
    group: list[textio.Part] = []
    size = 0
    for part in parts:
        group.append(part)
        size += _size(part)
        if size >= PART_BYTES:
            yield tuple(group)
            group, size = [], 0
    if group:
        yield tuple(group)


def _size(part: textio.Part) -> int:
    if part.layout == "parquet" or part.end is None:
        return part.path.stat().length
    return part.end - part.start


def read(job: Job, encoding: str = "utf-8", text_key: str = "") -> Iterator[Record]:
    """Streams the stories of a job, stripped, empty ones included; raises UserError."""
    for part in job:
        if isinstance(part, WorldPart):
            yield from _tell(part)
        else:
            yield from textio.read_part(part, encoding=encoding, key=text_key)


def _tell(part: WorldPart) -> Iterator[Record]:
    from tinyjax.stories import world  # other sources do without it

    for index in range(part.start, part.start + part.count):
        story = world.tell(part.seed, index)
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
