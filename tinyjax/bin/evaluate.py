"""Grades a model: its loss, its stories, what it knows, and what it copies.

    python -m tinyjax.bin.evaluate --checkpoint=runs/quickstart --data=runs/quickstart/data \
        --out=evaluations/quickstart
    python -m tinyjax.bin.evaluate --checkpoint=runs/quickstart --data=runs/quickstart/data \
        --out=evaluations/quickstart --parts=loss --quantize=int8
    python -m tinyjax.bin.evaluate --report=evaluations/report --of=evaluations/quickstart,evaluations/b

Results of each part are written to OUT/<part>.json, and what they are of to OUT/evaluation.json; figures in
parentheses are 95 % intervals. OUT/report.html shows all of it, and OUT/report.json has every number.
--report sets finished evaluations side by side. An evaluation that was stopped goes on with the same command:
no story is told, and no judge asked, twice. Without --parts, all are done that have what they need. The
prepared folder of --data need not be the one trained on, nor have the model's tokenizer.
"""

import dataclasses
import json
import sys
import time
from collections.abc import Callable, Sequence

from absl import flags

from tinyjax.bin import app, backend
from tinyjax.bin.evaluation import judge, loss, novelty, probes, quality, report
from tinyjax.bin.evaluation.job import Job, NotGivenError, needs_data, the_job
from tinyjax.bin.evaluation.summary import summarise
from tinyjax.checkpoint.preflight import probe
from tinyjax.data.publish import write_file
from tinyjax.sample.stories import SLOTS


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of an evaluation."""

    run: Callable[[Job], dict]  # what stands in OUT/<part>.json
    check: Callable[[Job], None] = lambda job: None  # raises NotGivenError, at once, where it can't be run


PARTS: dict[str, Part] = {
    "loss": Part(loss.run, check=needs_data),
    "novelty": Part(novelty.run, check=needs_data),
    "probes": Part(probes.run),
    "quality": Part(quality.run),
    "judge": Part(judge.run, check=judge.check),
}

_PARTS = flags.DEFINE_multi_enum(
    "parts", None, list(PARTS), "What to do; may be repeated. Default: all that can be done."
)


def run(argv: Sequence[str]) -> None:
    """Does the parts one after the other."""
    del argv
    app.end_on_sigterm()
    if report.asked():
        report.write_asked()
        return
    job = the_job()
    probe(job.out)
    parts = _parts(job)
    backend.start(SLOTS)
    job.begin()
    for name, part in parts.items():
        started = time.monotonic()
        result = part.run(job)
        file = job.out / f"{name}.json"
        write_file(file, json.dumps(result, indent=2, ensure_ascii=False).encode())
        print(f"{name}: {file} ({time.monotonic() - started:.1f} s)")
        print("\n".join(summarise(result)), flush=True)
    report.write_own(job.out)


def _parts(job: Job) -> dict[str, Part]:
    """Returns the parts to do; one that can't be done is an error if it was named, else it is left out."""
    named = _PARTS.value
    parts = {name: part for name, part in PARTS.items() if not named or name in named}
    missing = {name: error for name, part in parts.items() if (error := _missing(part, job))}
    for name, error in missing.items():
        if named or len(missing) == len(parts):
            raise error
        print(f"{name} is left out: {error}", file=sys.stderr)
    return {name: part for name, part in parts.items() if name not in missing}


def _missing(part: Part, job: Job) -> NotGivenError | None:
    try:
        part.check(job)
    except NotGivenError as error:
        return error
    return None


def main() -> None:
    """Entry point of the console script."""
    app.run(run)


if __name__ == "__main__":
    main()
