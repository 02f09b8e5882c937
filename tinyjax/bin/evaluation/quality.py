"""The part `quality`: what can be counted in completions without a judge."""

import dataclasses
import itertools
from collections.abc import Iterator

from absl import flags

from tinyjax.bin.evaluation.job import Job
from tinyjax.bin.loading import load
from tinyjax.bin.progress import show_count
from tinyjax.data.manifests import shards
from tinyjax.evaluate.estimates import Estimate
from tinyjax.evaluate.quality import (
    NO_CHECKER,
    as_records,
    bits_per_byte_under,
    grammar_checker,
    measure,
    words_of,
)

_PERPLEXITY_UNDER = flags.DEFINE_string(
    "perplexity_under",
    "",
    "quality: how likely the completions are by this other model, with the same formats as --checkpoint.",
)


def run(job: Job) -> dict:
    """Returns the figures over all completions and, to compare with, over as many whole held-out stories."""
    checker = grammar_checker()
    vocabulary = _vocabulary(job) if job.has_data else None
    records = job.completions
    figures = measure(records, [record["prompt"] for record in records], vocabulary, checker)
    real = as_records(itertools.islice(_held_out(job), len(records)))
    return {
        "stories": len(records),
        **_as_json(figures),
        "grammar_left_out": None if checker else NO_CHECKER,
        "perplexity_under": _under(job) if _PERPLEXITY_UNDER.value else None,
        "held_out": _as_json(measure(real, range(len(real)), vocabulary, checker)) if real else None,
    }


def _as_json(figures: dict[str, Estimate]) -> dict[str, dict | None]:
    absent = {"unknown_words", "grammar_issues"} - figures.keys()
    told = {name: dataclasses.asdict(figure) for name, figure in figures.items()}
    return told | dict.fromkeys(sorted(absent))


def _held_out(job: Job) -> Iterator[str]:
    if job.has_data:
        yield from (record.text for record in job.data.stories("validation"))


def _vocabulary(job: Job) -> frozenset[str]:
    files = shards(job.data.path, "train")
    with show_count("files of training stories", len(files)) as advance:
        return words_of(files, lambda: advance(""))


def _under(job: Job) -> dict:
    model = load(_PERPLEXITY_UNDER.value)
    estimate = bits_per_byte_under(model, job.completions, job.mesh)
    return {"checkpoint": _PERPLEXITY_UNDER.value, "bits_per_byte": dataclasses.asdict(estimate)}
