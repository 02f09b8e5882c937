"""The part `loss`: how well the model predicts the stories of a prepared set."""

import dataclasses
import itertools

from absl import flags

from tinyjax.bin.evaluation.job import Job
from tinyjax.bin.progress import show_count
from tinyjax.errors import UserError
from tinyjax.evaluate.breakdown import Losses, break_down, difference, in_int8, stories_of, story_losses
from tinyjax.sample.model import Model

_SPLIT = flags.DEFINE_enum(
    "split", "validation", ["validation", "train"], "loss: of which stories of --data."
)
_MAX_STORIES = flags.DEFINE_integer(
    "max_stories", 0, "loss: of the first so many stories only; 0: of all.", lower_bound=0
)
_QUANTIZE = flags.DEFINE_enum(
    "quantize", "none", ["none", "int8"], "loss: with weights in int8, and by how much it is higher for it."
)


def run(job: Job) -> dict:
    """Returns the loss, whole and in parts; it is quick, so that nothing is kept of one that was stopped."""
    full = _losses(job, job.model, "stories")
    losses = _losses(job, in_int8(job.model), "stories, in int8") if _QUANTIZE.value == "int8" else full
    whole = losses.whole
    return {
        "set": {
            "name": job.data.path.name,
            "split": _SPLIT.value,
            "fingerprint": job.data.fingerprint,
            "stories": whole.stories,
            "bytes": whole.bytes,
        },
        "parameters": job.parameters,
        "quantize": _QUANTIZE.value,
        **break_down(losses),
        "int8_difference": None if losses is full else dataclasses.asdict(difference(losses, full)),
    }


def _losses(job: Job, model: Model, what: str) -> Losses:
    stories = stories_of(job.data, _SPLIT.value, instructions=model.instruct)
    total = job.data.manifest["stories"][_SPLIT.value]["stories"]
    if not total:
        raise UserError(f"'{job.data.path}' has no {_SPLIT.value} stories; give the other --split")
    if _MAX_STORIES.value:
        total = min(total, _MAX_STORIES.value)
        stories = itertools.islice(stories, total)
    with show_count(what, total) as advance:
        return story_losses(model, stories, job.mesh, lambda: advance(""))
