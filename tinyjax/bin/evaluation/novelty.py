"""The part `novelty`: what stories have in common with the training stories of --data, and with each other.

The paper's experiment (section 4.4.1) on training stories that are cut, and the same figures for what came of
the openings and, to compare with, for endings of validation stories.
"""

import functools

from absl import flags

from tinyjax.bin.evaluation.job import Job
from tinyjax.bin.progress import show_count, show_progress
from tinyjax.data.manifests import shards
from tinyjax.errors import UserError
from tinyjax.evaluate.completions import complete
from tinyjax.evaluate.novelty.endings import draw_cuts, fits
from tinyjax.evaluate.novelty.results import Stories, Told, novelty
from tinyjax.evaluate.novelty.words import Cut
from tinyjax.records import Record
from tinyjax.workers import local_workers

_NUM_ENDINGS = flags.DEFINE_integer(
    "num_endings",
    100,
    "Training stories that are cut after 40 % of their words and told anew, and as many validation stories "
    "to compare with.",
    lower_bound=1,
)


def run(job: Job) -> dict:
    """Tells the endings, searches all training stories, and returns the figures."""
    cuts = _draw(job, "train")
    if not cuts:
        raise UserError(
            f"no training story of '{job.data.path}' fits the model's context of "
            f"{job.model.config.context_length} tokens; give --data with shorter ones"
        )
    endings = _tell(job, cuts)
    stories = Stories(
        [_told(record) for record in endings],
        [cut.ending for cut in cuts],
        [_told(record) for record in job.completions],
        [cut.ending for cut in _draw(job, "validation")],
    )
    whole = _count(job, "train")
    with show_progress() as report, local_workers() as map_jobs:
        return novelty(
            stories,
            shards(job.data.path, "train"),
            map_jobs,
            lambda done: report("searching training stories", done, whole),
        )


def _count(job: Job, split: str) -> int:
    return job.data.manifest["stories"][split]["stories"]


def _draw(job: Job, split: str) -> list[Cut]:
    return draw_cuts(
        shards(job.data.path, split),
        _count(job, split),
        _NUM_ENDINGS.value,
        job.seed,
        functools.partial(fits, job.model),
    )


def _tell(job: Job, cuts: list[Cut]) -> list[Record]:
    with show_count("endings", len(cuts)) as advance:
        return complete(
            job.model,
            job.checkpoint,
            [cut.beginning for cut in cuts],
            job.out / "endings.jsonl",
            num_samples=1,
            seed=job.seed,
            mesh=job.mesh,
            told=lambda done, whole: advance(""),
        )


def _told(record: Record) -> Told:
    return Told(record["prompt"], record["story"].removeprefix(record["prompt"]))
