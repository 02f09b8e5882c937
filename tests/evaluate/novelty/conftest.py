"""Shards of stories, as prepare writes them."""

import pathlib
from collections.abc import Callable, Sequence

import pytest

from tinyjax import recordio
from tinyjax.stories.examples import encode_record
from tinyjax.textio import Record


@pytest.fixture
def write_shards(tmp_path: pathlib.Path) -> Callable[[Sequence[str], int], list[pathlib.Path]]:
    """Writes stories into so many shards, and returns their paths."""

    def write(stories: Sequence[str], shards: int) -> list[pathlib.Path]:
        paths = [tmp_path / f"stories-{i}.array_record" for i in range(shards)]
        for i, path in enumerate(paths):
            part = stories[len(stories) * i // shards : len(stories) * (i + 1) // shards]
            recordio.write_records(path, [encode_record(Record(text)) for text in part])
        return paths

    return write
