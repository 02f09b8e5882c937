"""The main job end to end: stories -> dataset -> tokenizer -> windows -> model -> new stories.

    ./launch/quickstart                                  embedded stories, about 8 minutes on 2 cores
    ./launch/quickstart --stories=my.txt --minutes=10    your own

Interrupted, the same command goes on where it stopped; finished, it shows the result again.
"""

import dataclasses
import os
import time
from collections.abc import Sequence

from absl import flags
from etils import epath
from ml_collections import config_flags

from tinyjax.bin import app, backend, options, samples
from tinyjax.bin.progress import show_progress, summary
from tinyjax.checkpoint.preflight import FOR_CHECKPOINTS, probe
from tinyjax.config import Config
from tinyjax.data.prepare import prepare
from tinyjax.evaluate.loss import Evaluation
from tinyjax.recordio import is_local
from tinyjax.sample.model import load_model
from tinyjax.sample.stories import generate
from tinyjax.train.loop import train

EMBEDDED = "world:12000"

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Experiment file; override its fields with --config.a.b=value."
)
_STORIES = flags.DEFINE_string(
    "stories",
    "",
    "Your own stories: .txt, .jsonl, .json, .csv, .parquet or a folder of these, local or gs://; or a "
    "release, such as tinystories-v2. Without it, stories are generated.",
)
_OPTIONS = options.define(("validation", "encoding", "text_key", "clean", "source_dir", "mirror"))
_MINUTES = flags.DEFINE_float("minutes", 7.0, "How long to train.", lower_bound=0.05)
_RUN_DIR = flags.DEFINE_string(
    "run_dir",
    "",
    "Folder for everything, local or gs://; default: runs/quickstart, or runs/NAME for your stories.",
)


def run(argv: Sequence[str]) -> None:
    """Prepares, trains, and tells three stories."""
    del argv
    begin = time.monotonic()
    folder = epath.Path(_RUN_DIR.value or default_run_dir(_STORIES.value))
    config = app.config_from_flags(_CONFIG)
    probe(folder, FOR_CHECKPOINTS)
    print(f"Step 1 of 3: stories to windows of tokens, in {folder / 'data'}", flush=True)
    with show_progress() as progress:
        prepared = prepare(
            _STORIES.value or EMBEDDED,
            folder / "data",
            dataclasses.replace(_OPTIONS(), context_length=config.model.context_length),
            progress=progress,
        )
    print(summary(prepared, time.monotonic() - begin))
    print(f"Step 2 of 3: training for {_MINUTES.value:g} minutes, in {folder}", flush=True)
    config = with_run(config, str(folder / "data"), _MINUTES.value)
    backend.start(config.data.batch_size)
    result = train(config, folder, samples.go_on)
    print("Step 3 of 3: three new stories\n", flush=True)
    print(tell(folder))
    print(closing(folder, result, time.monotonic() - begin))


def default_run_dir(stories: str) -> str:
    """Returns runs/quickstart, or a folder named after the user's stories."""
    name = epath.Path(stories.rstrip("/")).stem if stories else "quickstart"
    return os.path.join("runs", name)


def with_run(config: Config, data: str, minutes: float) -> Config:
    """Returns the config with this run's data and duration."""
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, path=data),
        train=dataclasses.replace(config.train, minutes=minutes, num_steps=0, num_epochs=0.0),
    ).freeze()


def tell(folder: epath.Path) -> str:
    """Returns three new stories by the newest checkpoint."""
    completions = generate(load_model(folder), [""], num_samples=3, seed=1)
    return "\n\n".join(f"--- {i}\n{story.text}" for i, story in enumerate(completions, 1))


def closing(folder: epath.Path, result: Evaluation, seconds: float) -> str:
    """Returns what was reached and what to do next."""
    show = ".venv/bin/python -m json.tool --json-lines" if is_local(folder) else "gcloud storage cat"
    return f"""
Done in {seconds / 60:.1f} minutes: {result.bits_per_byte:.3f} ± {result.standard_error:.3f} bits/byte on \
{result.stories:,} stories the model has not seen.
Next:
  more stories        .venv/bin/python -m tinyjax.bin.sample --checkpoint={folder} --prompt="One day, a cat"
  a better model      ./launch/quickstart --minutes=30 --run_dir=runs/longer
  your own text       ./launch/quickstart --stories=my-stories.txt
  curves              {show} {folder}/metrics.jsonl"""


def main() -> None:
    """Entry point."""
    app.run(run)


if __name__ == "__main__":
    main()
