"""Trains a model on prepared stories; run again, it goes on where it stopped.

    python -m tinyjax.bin.train --config=configs/quickstart.py --config.data.path=data/a --run_dir=runs/a

The run folder gets checkpoints, metrics.jsonl, TensorBoard files and config.json.
"""

from collections.abc import Sequence

from absl import flags
from ml_collections import config_flags

from tinyjax.bin import app, backend
from tinyjax.errors import UserError
from tinyjax.train.loop import train

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Experiment file; override its fields with --config.a.b=value."
)
_RUN_DIR = flags.DEFINE_string("run_dir", "", "Folder of the run; one that exists is taken up.")


def run(argv: Sequence[str]) -> None:
    """Trains what the flags say."""
    del argv
    if not _RUN_DIR.value:
        raise UserError("--run_dir is missing; give the folder this run writes to, as in runs/first")
    config = app.config_from_flags(_CONFIG)
    backend.start(config.data.batch_size)
    train(config, _RUN_DIR.value)


def main() -> None:
    """Entry point of the console script."""
    app.run(run)


if __name__ == "__main__":
    main()
