"""Trains a model on prepared stories; run again, it goes on where it stopped.

    python -m tinyjax.bin.train --config=configs/quickstart.py --config.data.path=data/a --run_dir=runs/a

The run folder gets checkpoints, metrics.jsonl, TensorBoard files, config.json, and what was asked for of
samples.jsonl and a profile.

On several machines the same command is started on all of them, with data and run folder that all see; TPU
slices, SLURM and Kubernetes jobs find each other. Elsewhere each is told its place:

    ... --coordinator=HOST:PORT --num_processes=4 --process_id=0     (1, 2 and 3 on the others)
"""

import os
import signal
import sys
from collections.abc import Sequence

from absl import flags
from ml_collections import config_flags

from tinyjax.bin import app, backend, samples
from tinyjax.errors import UserError
from tinyjax.parallel import maintenance
from tinyjax.parallel.distributed import Job, StoppedAlone, detect, joined
from tinyjax.train.loop import train

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Experiment file; override its fields with --config.a.b=value."
)
_RUN_DIR = flags.DEFINE_string(
    "run_dir", "", "Folder of the run, local or gs://; one that exists is taken up."
)
_DISTRIBUTED = flags.DEFINE_enum(
    "distributed",
    "auto",
    ["auto", "off"],
    "auto: together with the other processes of a TPU slice, SLURM, Kubernetes or MPI job; off: alone.",
)
_COORDINATOR = flags.DEFINE_string("coordinator", "", "HOST:PORT of process 0, where the processes meet.")
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", 0, "Number of processes, with --coordinator.")
_PROCESS_ID = flags.DEFINE_integer("process_id", -1, "Which one this is, from 0, with --coordinator.")
_START_SECONDS = flags.DEFINE_integer(
    "start_seconds", 300, "How long to wait for the other processes to come.", lower_bound=1
)
_LOST_SECONDS = flags.DEFINE_integer(
    "lost_seconds", 60, "How long another machine may not answer until all end.", lower_bound=2
)


def run(argv: Sequence[str]) -> None:
    """Trains what the flags say."""
    del argv
    signal.signal(signal.SIGTERM, _stop)
    if not _RUN_DIR.value:
        raise UserError("--run_dir is missing; give the folder this run writes to, as in runs/first")
    config = app.config_from_flags(_CONFIG)
    job = _job()
    maintenance.watch()
    try:
        with joined(job, start_seconds=_START_SECONDS.value, lost_seconds=_LOST_SECONDS.value):
            backend.start(config.data.batch_size // (job.num_processes if job else 1))
            train(config, _RUN_DIR.value, samples.go_on)
    except StoppedAlone as error:
        if job is None:
            raise
        print(error, file=sys.stderr, flush=True)
        os._exit(app.PREEMPTED)


def _stop(signum: int, _: object) -> None:
    """Ends what comes before and after training, where there is nothing to save."""
    raise StoppedAlone(signum, "while not training; nothing is lost")


def _job() -> Job | None:
    """Returns this process's place among others, None where it is alone."""
    if _COORDINATOR.value:
        return Job(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    for holder in (_NUM_PROCESSES, _PROCESS_ID):
        if holder.present:
            raise UserError(f"--{holder.name} is given without --coordinator=HOST:PORT; give both")
    return detect(_START_SECONDS.value) if _DISTRIBUTED.value == "auto" else None


def main() -> None:
    """Entry point of the console script."""
    app.run(run)


if __name__ == "__main__":
    main()
