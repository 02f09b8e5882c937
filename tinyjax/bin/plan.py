"""Tells, before chips are rented, whether a run fits on them and how fast it can go there.

    python -m tinyjax.bin.plan --config=configs/paper.py:33M --topology=v5e:2x2 --config.mesh.fsdp=2

compiles the steps of training, evaluation and sampling as they are for TPUs that needn't be there (it takes
the extra [tpu]), and counts. Topologies: v4, v5e, v5p, v6e or tpu7x, and the chips along each side: v5e:4x4,
v5p:2x2x1. Exit code 3: it doesn't fit.
"""

import json
from collections.abc import Sequence

from absl import flags
from etils import epath
from ml_collections import config_flags

from tinyjax.bin import app
from tinyjax.checkpoint.preflight import probe
from tinyjax.config import Config
from tinyjax.data.mixture import open_mixture
from tinyjax.errors import UserError
from tinyjax.planning.plan import PLAIN, STEPS, largest_batch, make_plan, with_batch
from tinyjax.planning.report import lines, to_json_dict
from tinyjax.planning.target import find_target

DOES_NOT_FIT = 3
VOCAB_SIZE = 10_000  # the TinyStories paper's

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Experiment file; override its fields with --config.a.b=value."
)
_TOPOLOGY = flags.DEFINE_string("topology", "", "Chips: v5e:2x2, v6e:16x16, v5p:2x2x1, ...")
_VOCAB_SIZE = flags.DEFINE_integer(
    "vocab_size",
    0,
    f"Pieces of the tokenizer; 0: of the data's where --config.data.path is given, else {VOCAB_SIZE}.",
)
_FIND_BATCH = flags.DEFINE_bool("find_batch", False, "Find the largest batch that fits, and plan for it.")
_PLAIN = flags.DEFINE_bool(
    "plain", False, "Compare with a plain training step: whole logits and scores, nothing computed again."
)
_JSON = flags.DEFINE_string("json", "", "File that gets all numbers.")


def run(argv: Sequence[str]) -> int | None:
    """Plans what the flags say; returns DOES_NOT_FIT where it doesn't."""
    del argv
    if not _TOPOLOGY.value:
        raise UserError("--topology is missing; give the chips to plan for, as in --topology=v5e:2x2")
    if _VOCAB_SIZE.value < 0:
        raise UserError(f"--vocab_size is {_VOCAB_SIZE.value}; it must be above 0, or 0 to go by the data")
    config = app.config_from_flags(_CONFIG)
    if _JSON.value:
        probe(epath.Path(_JSON.value).parent)
    target = find_target(_TOPOLOGY.value)
    vocab_size = _VOCAB_SIZE.value or _pieces(config)
    if _FIND_BATCH.value:
        batch_size = largest_batch(config, target, vocab_size, lambda line: print(line, flush=True))
        if not batch_size:
            print("not even the smallest batch fits")
            return DOES_NOT_FIT
        config = with_batch(config, batch_size)
        print(f"the largest batch that fits, to within 5 %: {batch_size}\n", flush=True)
    plan = make_plan(config, target, vocab_size, (*STEPS, PLAIN) if _PLAIN.value else STEPS)
    print("\n".join(lines(plan)))
    if _JSON.value:
        epath.Path(_JSON.value).write_text(json.dumps(to_json_dict(plan), indent=2) + "\n")
    return None if plan.fits else DOES_NOT_FIT


def _pieces(config: Config) -> int:
    """Returns the size of the data's tokenizer; without data, the paper's."""
    return open_mixture(config.data.path).tokenizer.vocab_size if config.data.path else VOCAB_SIZE


def main() -> None:
    """Entry point of the console script."""
    app.run(run)


if __name__ == "__main__":
    main()
