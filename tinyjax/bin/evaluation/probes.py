"""What the model knows, concludes, keeps in mind and obeys: accuracies beside chance and n-gram models."""

import dataclasses
from collections.abc import Sequence

from absl import flags

from tinyjax import instruct
from tinyjax.bin.evaluation.job import Job
from tinyjax.bin.progress import show_count
from tinyjax.data.manifests import shards
from tinyjax.evaluate.probes import instructions, ngrams
from tinyjax.evaluate.probes.choice import accuracies, baseline_choices, baseline_grams, choose, fits
from tinyjax.evaluate.probes.items import Item, fingerprint, written_items
from tinyjax.evaluate.probes.ngrams import NgramModel
from tinyjax.evaluate.probes.world import world_items
from tinyjax.records import Record, open_records
from tinyjax.stories.splitting import TRAIN, VALIDATION
from tinyjax.workers import local_workers

_INSTRUCT_STORIES = flags.DEFINE_integer(
    "instruct_stories",
    20,
    "probes: stories told with each combination of instructions, by a model that was trained on them.",
    lower_bound=1,
)
_BASELINES = {"unigram": 1, f"{ngrams.ORDER}-gram": ngrams.ORDER}
_ITEM_FIELDS = ("group", "prompt", "right", "chosen", "correct")


def run(job: Job) -> dict:
    """Returns accuracies by group, and how instructions are obeyed by a model that was trained on them.

    Items that are too long for the model's context are left out, as are baselines where there is no --data.
    """
    items = [*written_items(), *world_items()]
    short = [item for item in items if fits(job.model, item)]
    chosen = _choose(job, short)
    baselines = _baselines(job, short) if job.has_data else {}
    by_name = {name: accuracies(records) for name, records in baselines.items()}
    return {
        "items_version": fingerprint(items),
        "too_long": len(items) - len(short),
        "groups": {
            group: dataclasses.asdict(found)
            | {"baselines": {name: dataclasses.asdict(of[group].accuracy) for name, of in by_name.items()}}
            for group, found in accuracies(chosen).items()
        },
        "instruct": _instruct(job) if job.model.instruct else None,
        "instruct_left_out": None if job.model.instruct else "the model wasn't trained on instructions",
        "items": [{name: record[name] for name in _ITEM_FIELDS} for record in chosen],
    }


def _choose(job: Job, items: Sequence[Item]) -> list[Record]:
    """Returns the model's choices, kept in probes.jsonl."""
    settings = {"checkpoint": job.checkpoint, "step": job.model.step, "items": fingerprint(items)}
    file = open_records(job.out / "probes.jsonl", "a probe", ("group", "prompt"), settings)
    with file as records, show_count("probes", len(items)) as advance:
        return choose(job.model, items, records, lambda done, whole: advance(""))


def _baselines(job: Job, items: Sequence[Item]) -> dict[str, list[Record]]:
    """Returns the choices of n-gram models of the training stories, kept in probes_baselines.jsonl."""
    settings = {
        "data": job.data.fingerprint,
        "tokenizer": job.model.tokenizer.sha256,
        "items": fingerprint(items),
    }
    file = open_records(
        job.out / "probes_baselines.jsonl", "a baseline's choice", ("baseline", "group", "prompt"), settings
    )
    keys = {name: [(name, item.group, item.prompt) for item in items] for name in _BASELINES}
    with file as records:
        if any(key not in records for of_name in keys.values() for key in of_name):
            model = _train(job, items)
            for name, order in _BASELINES.items():
                for record in baseline_choices(job.model.tokenizer, items, model, order):
                    records.add({"baseline": name, **record})
        return {name: [record for key in keys[name] if (record := records.get(*key))] for name in keys}


def _train(job: Job, items: Sequence[Item]) -> NgramModel:
    tokenizer, files = job.model.tokenizer, shards(job.data.path, TRAIN)
    grams = baseline_grams(tokenizer, items)
    with local_workers() as map_jobs, show_count("files of training stories", len(files)) as advance:
        return ngrams.train(grams, tokenizer, files, map_jobs, lambda: advance(""))


def _instruct(job: Job) -> dict:
    """Returns how instructions are obeyed in stories that are told for it, kept in instruct_stories.jsonl."""
    prepared = job.data if job.has_data and job.data.instruct else None
    known = prepared.stories(VALIDATION) if prepared else ()
    hold_out = prepared.manifest["windows"]["recipe"]["hold_out"] if prepared else ""
    count = _INSTRUCT_STORIES.value
    with show_count("stories with instructions", count * len(instructions.COMBINATIONS)) as advance:
        stories = instructions.tell(
            job.model,
            job.checkpoint,
            instructions.known_records(known, count),
            job.out / "instruct_stories.jsonl",
            seed=job.seed,
            mesh=job.mesh,
            told=lambda: advance(""),
        )
    return dataclasses.asdict(instructions.summarise(stories, instruct.parse_hold_out(hold_out)))
