"""From any source of stories to packed windows: the job behind `tinyjax.bin.prepare`.

What it makes is listed in `tinyjax.data.manifests`. Each thing appears whole or not at all, so a job
that was killed is run again and takes up what is there. A folder holds one source; nothing in it is
ever overwritten by another.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from etils import epath

from tinyjax import instruct
from tinyjax.cache import cache_folder
from tinyjax.data import difficulty, manifests, publish, windows
from tinyjax.data import options as options_lib
from tinyjax.data import origin as origins
from tinyjax.data.difficulty import Measure
from tinyjax.data.manifests import FORMAT, PREPARED, STORIES, TOKENIZER, Prepared, Progress, load_prepared
from tinyjax.data.options import Options
from tinyjax.data.windows import Instructions, Packed, Recipe, ShardJob
from tinyjax.errors import UserError
from tinyjax.recordio import is_local
from tinyjax.stories import builder, clean, download, examples, sources
from tinyjax.stories.packaging import Reading
from tinyjax.stories.releases import RELEASES
from tinyjax.stories.splitting import SPLITS, TRAIN
from tinyjax.tokenizer import (
    Tokenizer,
    cut_vocabulary,
    default_vocab_size,
    load_tokenizer,
    losses,
    train_tokenizer,
)
from tinyjax.workers import Mapper, local_workers, one_at_a_time

_TOKENIZER_BYTES = 1 << 25  # text that a tokenizer is trained on; more makes no better pieces
_CHECKED_STORIES = 1000  # stories that are looked at for whether the tokenizer gives them back


@dataclasses.dataclass(frozen=True)
class _Job:
    """What all stages need."""

    path: epath.Path
    source: str
    options: Options
    map: Mapper
    progress: Progress


def prepare(
    source: str,
    data_dir: epath.PathLike,
    options: Options | None = None,
    *,
    measure: Measure | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> Prepared:
    """Makes packed windows of the stories at `source` in `data_dir`, or finds them there.

    Args:
      source: a file or folder (local or gs://), the name of a release (tinystories-v2), or
        world:COUNT[:SEED] for the embedded stories.
      data_dir: the folder; what it holds of the same source is taken up.
      options: how.
      measure: of difficulty, where `options.difficulty` is none of `difficulty.MEASURES`.
      progress: is told how far each stage is.

    Raises UserError for whatever the user can mend; what `data_dir` held is then as it was.
    """
    options = options or Options()
    options_lib.check(options)
    measure = measure or difficulty.named_measure(options.difficulty)
    path = epath.Path(data_dir)
    reading = Reading(options.encoding, options.text_key, clean.parse_rules(options.clean))
    origin = origins.describe(source, options, reading, progress)
    origins.check_folder(path, origin)
    with _alone(path, progress), local_workers() as map_jobs:
        origins.check_folder(path, origin)  # again: another process may have filled it
        publish.remove_partial(path)
        publish.remove_partial(path / "windows")
        job = _Job(path, source, options, map_jobs, progress)
        reused = [_make_stories(job, origin, reading)]
        asked = _asked_tokenizer(job)
        reused.append(_make_tokenizer(job, asked))
        reused.append(_make_windows(job, measure))
        _commit(job, asked)
    return dataclasses.replace(load_prepared(path), reused=tuple(filter(None, reused)))


def _alone(path: epath.Path, progress: Progress) -> contextlib.AbstractContextManager[None]:
    """Keeps other processes of this machine out of a local folder."""
    if not is_local(path):
        return contextlib.nullcontext()
    path.mkdir(parents=True, exist_ok=True)
    return one_at_a_time(path, lambda: progress(f"waiting for another process that prepares '{path}'", 0, 0))


# The stages. Each returns its name when what it makes is there already, else nothing.


def _make_stories(job: _Job, origin: origins.Origin, reading: Reading) -> str:
    folder, source = job.path / "stories", job.source
    if publish.is_published(folder):
        return "stories"
    config = _stories_config(job, reading)
    total = sources.parse_world(source)[0] if source.startswith(sources.WORLD) else 0
    with publish.publish(folder, from_afar=bool(job.options.beam)) as partial:
        version_dir, metadata = builder.build(
            config,
            partial,
            lambda done: job.progress("reading stories", done, total),
            map_jobs=job.map,
            beam=job.options.beam,
        )
        digests = "".join(split["sha256"] for split in metadata["splits"].values())
        manifest = {
            "format": FORMAT,
            "folder": str(version_dir.relative_to(partial)),
            "origin": origin,
            "fingerprint": hashlib.sha256(digests.encode()).hexdigest(),
            **metadata,
        }
        (partial / publish.MARK).write_bytes(manifests.to_json(manifest))
    return ""


def _stories_config(job: _Job, reading: Reading) -> builder.StoriesConfig:
    """Returns the builder's config; a release is downloaded, or found where the user has it."""
    options = job.options
    if job.source not in RELEASES:
        name = "world" if job.source.startswith(sources.WORLD) else "local"
        return builder.StoriesConfig(
            name=name, source=job.source, validation=options.validation, reading=reading
        )
    release = RELEASES[job.source]
    files = download.fetch(
        release,
        options.download_dir or cache_folder("releases"),
        source_dir=options.source_dir,
        mirror=options.mirror,
        progress=job.progress,
    )
    return builder.StoriesConfig(
        name=release.name,
        description=release.description,
        source=str(files[TRAIN]),
        validation=options.validation or str(files.get("validation", "")),
        reading=reading,
    )


def _asked_tokenizer(job: _Job) -> dict[str, Any]:
    """Returns what the tokenizer of this folder was, or is to be, made from."""
    path, options = job.path, job.options
    given = _given_tokenizer(options)
    asked = {"vocab_size": options.vocab_size, "given": given.sha256 if given else ""}
    if not (path / PREPARED).exists():
        if not given and not options.vocab_size:
            asked["vocab_size"] = default_vocab_size(manifests.read(path / STORIES)["splits"][TRAIN]["bytes"])
        return asked
    had = manifests.read(path / PREPARED)["tokenizer"]["asked"]
    if (given and asked != had) or options.vocab_size not in (0, had["vocab_size"]):
        raise UserError(
            f"'{path}' holds a tokenizer made for a vocabulary of {had['vocab_size']}, not "
            f"{options.tokenizer or options.vocab_size}; name another folder with --data_dir"
        )
    return had


def _given_tokenizer(options: Options) -> Tokenizer | None:
    if not options.tokenizer:
        return None
    given = epath.Path(options.tokenizer)
    return load_tokenizer(given / TOKENIZER if (given / PREPARED).exists() else given)


def _make_tokenizer(job: _Job, asked: dict[str, Any]) -> str:
    if (job.path / PREPARED).exists() and (job.path / TOKENIZER).exists():
        return "tokenizer"
    given = _given_tokenizer(job.options)
    job.progress("training the tokenizer", 0, 0)
    if given and not asked["vocab_size"]:
        tokenizer = given
    elif given:
        tokenizer = cut_vocabulary(given, _sample_texts(job), asked["vocab_size"])
    else:
        tokenizer = train_tokenizer(_sample_texts(job), asked["vocab_size"])
    publish.write_file(job.path / TOKENIZER, tokenizer.model)
    return ""


def _sample_texts(job: _Job) -> Iterator[str]:
    """Yields examples from all over the train split, in all about _TOKENIZER_BYTES of text."""
    train = manifests.read(job.path / STORIES)["splits"][TRAIN]
    stride = math.ceil(train["bytes"] / _TOKENIZER_BYTES)
    for shard in manifests.shards(job.path, TRAIN):
        for record in examples.read_stories(shard, stride):
            yield windows.example_text(record, _instructions(job.options))[1]


def _make_windows(job: _Job, measure: Measure) -> str:
    recipe = _recipe(job)
    folder = job.path / _windows_folder(job, recipe)
    if publish.is_published(folder):
        return "windows"
    edges, bands = _bands(job, measure)
    with publish.publish(folder) as partial:
        splits = {split: _pack_split(job, partial, split, recipe, bands.get(split)) for split in SPLITS}
        manifest = {
            "recipe": _described(job.options),
            "fingerprint": _fingerprint(job, recipe),
            "dtype": windows.record_dtype(recipe.tokenizer.vocab_size, recipe.context_length),
            "edges": edges,
            "splits": splits,
        }
        (partial / publish.MARK).write_bytes(manifests.to_json(manifest))
    return ""


def _recipe(job: _Job) -> Recipe:
    tokenizer = load_tokenizer(job.path / TOKENIZER)
    return Recipe(tokenizer, job.options.context_length, job.options.bands, _instructions(job.options))


def _instructions(options: Options) -> Instructions | None:
    if not options.instruct:
        return None
    return Instructions(instruct.parse_hold_out(options.hold_out), options.seed)


def _described(options: Options) -> dict[str, Any]:
    """Returns what windows are made by, besides stories and tokenizer; what has no effect is left out."""
    about_instructions = {"hold_out": options.hold_out, "seed": options.seed} if options.instruct else {}
    about_bands = {"difficulty": options.difficulty} if options.bands > 1 else {}
    return {
        "context_length": options.context_length,
        "instruct": options.instruct,
        **about_instructions,
        "bands": options.bands,
        **about_bands,
    }


def _fingerprint(job: _Job, recipe: Recipe) -> str:
    """Returns the hex digest of all that windows are made from."""
    stories = manifests.read(job.path / STORIES)["fingerprint"]
    made_from = [FORMAT, stories, recipe.tokenizer.sha256, _described(job.options)]
    return hashlib.sha256(json.dumps(made_from).encode()).hexdigest()


def _windows_folder(job: _Job, recipe: Recipe) -> str:
    return f"windows/{_fingerprint(job, recipe)[:16]}"


def _bands(job: _Job, measure: Measure) -> tuple[list[float], dict[str, list[np.ndarray]]]:
    """Returns the edges of the bands, and for the shards of the train split the band of each story."""
    if job.options.bands == 1:
        return [], {}
    job.progress("measuring difficulty", 0, 0)
    shards = manifests.shards(job.path, TRAIN)
    # Only a function of a module can be sent to other processes; one that holds a model works here.
    apply = job.map if job.options.difficulty in difficulty.MEASURES else map
    values, sizes = zip(*apply(functools.partial(_measure_shard, measure=measure), shards), strict=True)
    edges = difficulty.band_edges(np.concatenate(values), np.concatenate(sizes), job.options.bands)
    return edges.tolist(), {TRAIN: [difficulty.band_of(of_shard, edges) for of_shard in values]}


def _measure_shard(shard: epath.Path, *, measure: Measure) -> tuple[np.ndarray, np.ndarray]:
    """Returns difficulty and bytes of each story of a shard."""
    texts = examples.read_texts(shard)
    return measure(texts), difficulty.lengths(texts)


def _pack_split(
    job: _Job, folder: epath.Path, split: str, recipe: Recipe, bands: list[np.ndarray] | None
) -> dict[str, Any]:
    shards = manifests.shards(job.path, split)
    targets = [folder / f"{split}-{i:05d}.array_record" for i in range(len(shards))]
    jobs = list(map(ShardJob, shards, targets, bands or [None] * len(shards)))
    packed = list(_pack_shards(job, jobs, recipe, f"packing {split} windows"))
    count, tokens = sum(p.windows for p in packed), sum(p.tokens for p in packed)
    return {
        "windows": count,
        "tokens": tokens,
        "bytes": sum(p.bytes for p in packed),
        "padding_share": 1 - tokens / (count * recipe.context_length),
        "files": [
            {"name": file.name, "windows": p.windows, "bands": p.bands, "bytes": file.stat().length}
            for file, p in zip(targets, packed, strict=True)
        ],
    }


def _pack_shards(job: _Job, jobs: Sequence[ShardJob], recipe: Recipe, stage: str) -> Iterator[Packed]:
    job.progress(stage, 0, len(jobs))
    for done, packed in enumerate(job.map(functools.partial(windows.pack_shard, recipe=recipe), jobs), 1):
        job.progress(stage, done, len(jobs))
        yield packed


def _commit(job: _Job, asked: dict[str, Any]) -> None:
    """Writes prepared.json, unless it says the same already."""
    path, recipe = job.path, _recipe(job)
    stories = manifests.read(path / STORIES)
    folder = _windows_folder(job, recipe)
    packed = manifests.read(path / folder / publish.MARK)
    before = manifests.read(path / PREPARED) if (path / PREPARED).exists() else None
    totals = {name: sum(split[name] for split in packed["splits"].values()) for name in ("bytes", "tokens")}
    manifest = {
        "format": FORMAT,
        "origin": stories["origin"],
        "fingerprint": stories["fingerprint"],
        "stories": stories["splits"],
        "dropped": stories["dropped"],
        "mended": stories["mended"],
        "tokenizer": {
            "sha256": recipe.tokenizer.sha256,
            "asked": asked,
            "vocab_size": recipe.tokenizer.vocab_size,
            "bytes_per_token": totals["bytes"] / totals["tokens"],
            "losses": before["tokenizer"]["losses"] if before else _losses(job, recipe.tokenizer, asked),
        },
        "windows": {"folder": folder, **packed},
    }
    if manifest != before:
        publish.write_file(path / PREPARED, manifests.to_json(manifest))


def _losses(job: _Job, tokenizer: Tokenizer, asked: dict[str, Any]) -> dict[str, Any]:
    """Returns how many of a thousand stories the tokenizer changes; one made here must change none."""
    stories = manifests.read(job.path / STORIES)["splits"][TRAIN]["stories"]
    stride = math.ceil(stories / _CHECKED_STORIES)
    shards = manifests.shards(job.path, TRAIN)
    lost = losses(tokenizer, (text for shard in shards for text in examples.read_texts(shard, stride)))
    if lost.changed and not asked["given"]:
        raise UserError(
            f"the tokenizer does not give back every story: {lost.example}; please report it with that story"
        )
    return dataclasses.asdict(lost)
