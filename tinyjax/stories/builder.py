"""The TFDS dataset `tinyjax_stories`: any source of stories as typed, checked ArrayRecord splits.

The source is cut into jobs, which worker processes, or Apache Beam, turn into shards; memory stays
flat, and the files are the same bytes whoever did it. (TFDS's own writers hold up to 1 GB of a split
in memory, shuffle, and need TensorFlow for more.) The result opens with
`tfds.builder_from_directory(...)` and `as_data_source()` like any other.
"""

import contextlib
import dataclasses
import functools
import io
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from etils import epath
from tensorflow_datasets.core.dataset_builder import FileReaderBuilder

from tinyjax.stories import packaging, sources, splitting
from tinyjax.stories.beam import beam_workers, parse_options
from tinyjax.stories.packaging import Packaged, Reading, Tally
from tinyjax.stories.splitting import EMPTY, OVERLAP, SPLITS, Rule
from tinyjax.workers import Mapper

Progress = Callable[[int], None]  # told the number of stories so far


@dataclasses.dataclass
class StoriesConfig(tfds.core.BuilderConfig):
    """Where the stories come from, and what is done to them."""

    source: str = ""  # a file or folder that textio reads, or world:COUNT[:SEED]
    validation: str = ""  # the validation set, where there is one; empty: chosen by hash of the text
    reading: Reading = dataclasses.field(default_factory=Reading)


class TinyjaxStories(FileReaderBuilder):
    """Stories with what is known about them, split into train and validation.

    TFDS's `DownloadConfig(beam_runner=..., beam_options=...)` has Apache Beam do the work.
    """

    name = "tinyjax_stories"
    VERSION = tfds.core.Version("1.0.0")
    builder_config_cls = StoriesConfig
    url_infos = None  # nothing is downloaded; TFDS would look for a checksum file beside the code
    progress: Progress = staticmethod(lambda stories: None)
    map_jobs: Mapper = staticmethod(map)

    def _info(self) -> tfds.core.DatasetInfo:
        text = tfds.features.Text()
        texts = tfds.features.Sequence(text)
        return _Info(
            builder=self,
            description="Short stories, one an example, with the record of how each was made.",
            features=tfds.features.FeaturesDict(
                {
                    "text": text,
                    "words": texts,
                    "features": texts,
                    "summary": text,
                    "source": text,
                    "facts": tfds.features.Sequence({"question": text, "answer": text}),
                    "sentence": text,
                    "given": texts,
                }
            ),
            metadata=tfds.core.MetadataDict(),
            disable_shuffling=True,
        )

    def _download_and_prepare(self, dl_manager: Any, download_config: Any = None) -> None:
        config = self.builder_config
        assert isinstance(config, StoriesConfig)
        with _beam_or(self.map_jobs, download_config) as map_jobs:
            packaged = _package(config, self.data_path / self.name, map_jobs, self.progress)
        tally = sum((result.tally for result in packaged), Tally())
        counts = tally.counts
        splitting.check_not_empty(counts, config.source, config.validation)
        merged = {name: packaging.merge(result.splits[name] for result in packaged) for name in SPLITS}
        infos = [self._named(name, split) for name, split in merged.items()]
        self.info.set_splits(tfds.core.splits.SplitDict(infos))
        assert self.info.metadata is not None
        self.info.metadata.update(
            splits={
                name: {"stories": s.stories, "bytes": s.text_bytes, "sha256": s.digest.hex()}
                for name, s in merged.items()
            },
            dropped={EMPTY: 0, OVERLAP: 0}
            | {reason: number for reason, number in sorted(counts.items()) if reason not in SPLITS},
            mended=dict(sorted(tally.mended.items())),
        )

    def _named(self, name: str, split: packaging.Split) -> tfds.core.SplitInfo:
        template = self._get_filename_template(name)
        shards = packaging.name_shards(
            split.shards,
            lambda index, count: template.sharded_filepath(shard_index=index, num_shards=count),
        )
        return tfds.core.SplitInfo(
            name=name,
            shard_lengths=[shard.stories for shard in shards],
            num_bytes=sum(shard.bytes for shard in shards),
            filename_template=template,
        )


class _Info(tfds.core.DatasetInfo):
    def initialize_from_bucket(self) -> None:
        """Asks nobody: TFDS would look for this data set on Google Cloud."""


def _beam_or(map_jobs: Mapper, download_config: Any) -> contextlib.AbstractContextManager[Mapper]:
    if download_config is None or download_config.beam_options is None:
        return contextlib.nullcontext(map_jobs)
    return beam_workers(download_config.beam_options, download_config.beam_runner)


def _package(
    config: StoriesConfig, prefix: epath.Path, map_jobs: Mapper, progress: Progress
) -> list[Packaged]:
    """Has all jobs done: those of a validation set first, for its stories are kept out of train."""
    reading = config.reading
    package = functools.partial(packaging.package, reading=reading, prefix=prefix)
    done: list[Packaged] = []

    def run(jobs: list[sources.Job], rule: Rule | None, marks: list[np.ndarray]) -> None:
        numbered = list(zip(range(len(done), len(done) + len(jobs)), jobs, marks, strict=True))
        for result in map_jobs(functools.partial(package, rule=rule), numbered):
            done.append(result)
            progress(sum(result.tally.counts.total() for result in done))

    progress(0)
    jobs = sources.jobs(config.source, reading.encoding)
    rule = Rule() if len(jobs) == 1 else splitting.SHARE
    if config.validation:
        held_out = sources.jobs(config.validation, reading.encoding)
        run(held_out, None, [np.empty(0, np.uint8)] * len(held_out))
        rule = Rule(held_out=frozenset().union(*(result.held_out for result in done)))
    run(jobs, rule, packaging.mark_repeated(jobs, reading, map_jobs))
    return done


def build(
    config: StoriesConfig,
    data_dir: epath.PathLike,
    progress: Progress,
    *,
    map_jobs: Mapper = map,
    beam: str = "",
) -> tuple[epath.Path, dict[str, Any]]:
    """Builds the data set under `data_dir`, its jobs done by `map_jobs` or by Beam.

    Returns the folder of its version, and the counts, bytes and digests of its splits. UserError
    for a source that can't be read or holds fewer than two different stories. `beam` are options
    of Apache Beam as `parse_options` reads them.
    """
    with _quiet():
        builder = TinyjaxStories(config=config, data_dir=data_dir)
        builder.progress, builder.map_jobs = progress, map_jobs
        beam_options = parse_options(beam) if beam else None
        download = tfds.download.DownloadConfig(beam_options=beam_options)
        builder.download_and_prepare(  # ty: ignore[missing-argument]
            file_format="array_record", download_config=download
        )
    (epath.Path(data_dir) / "downloads").rmtree(missing_ok=True)  # TFDS makes it; nothing is downloaded
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


def shards(version_dir: epath.Path, split: str) -> list[epath.Path]:
    """Returns the files of a split, in order."""
    return sorted(version_dir.glob(f"{TinyjaxStories.name}-{split}.*"))
