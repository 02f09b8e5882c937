"""Grades a model: its loss, its stories, what it knows, and what it copies.

    python -m tinyjax.bin.evaluate --checkpoint=runs/quickstart --data=data/quickstart \
        --out=evaluations/quickstart

Results of each part are written to OUT/<part>.json. An evaluation that was stopped goes on with the same
command: no story is told, and no judge asked, twice.
"""

import json
from collections.abc import Callable, Sequence

from absl import flags

from tinyjax.bin import app, backend
from tinyjax.bin.evaluation import probes
from tinyjax.bin.evaluation.job import Job, the_job
from tinyjax.data.publish import write_file

PARTS: dict[str, Callable[[Job], dict]] = {
    "probes": probes.run,
}

_PARTS = flags.DEFINE_multi_enum("parts", list(PARTS), list(PARTS), "What to do; may be repeated.")


def run(argv: Sequence[str]) -> None:
    """Does the parts one after the other."""
    del argv
    job = the_job()
    backend.start()
    for name in _PARTS.value:
        result = PARTS[name](job)
        job.out.mkdir(parents=True, exist_ok=True)
        write_file(job.out / f"{name}.json", json.dumps(result, indent=2, ensure_ascii=False).encode())


def main() -> None:
    """Entry point of the console script."""
    app.run(run)


if __name__ == "__main__":
    main()
