"""Writes a checkpoint in the format of another program.

    python -m tinyjax.bin.export --checkpoint=runs/quickstart --format=hf --out=exports/hf
    python -m tinyjax.bin.export --checkpoint=runs/quickstart --format=gguf --kind=q8_0 --out=exports/gguf

hf: a folder for transformers. gguf: for llama.cpp, KoboldCpp, Ollama. llama2c: for llama2.c. safetensors: one
file under our own names, which needs neither Orbax nor JAX to be read. What was written is read back by an
independent reader and compared with the model, and is there only if it computes the same.
"""

from collections.abc import Sequence

import jax
from absl import flags

from tinyjax.bin import app, backend
from tinyjax.checkpoint import manager as checkpoints
from tinyjax.checkpoint.preflight import probe
from tinyjax.errors import UserError
from tinyjax.interop import exporting, gguf
from tinyjax.interop.card import card, validation_at
from tinyjax.interop.model import read_checkpoint

_CHECKPOINT = flags.DEFINE_string("checkpoint", "", "Run folder or checkpoint, local or gs://.")
_FORMAT = flags.DEFINE_enum("format", None, exporting.FORMATS, "What to write.")
_OUT = flags.DEFINE_string("out", "", "Folder to write into; a new one, local or gs://.")
_KIND = flags.DEFINE_enum("kind", gguf.KINDS[0], gguf.KINDS, "With --format=gguf, the numbers.")
_VERSION = flags.DEFINE_integer(
    "llama2c_version",
    0,
    "With --format=llama2c: 0 and 1 are float32, 2 is int8.",
    lower_bound=0,
    upper_bound=2,
)
_EMA = flags.DEFINE_bool(
    "ema", True, "Take the moving average of the parameters, where the checkpoint has one."
)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace an earlier export in the folder.")


def run(argv: Sequence[str]) -> None:
    """Writes and checks the export, on the CPU."""
    del argv
    for name, holder in (("checkpoint", _CHECKPOINT), ("format", _FORMAT), ("out", _OUT)):
        if not holder.value:
            raise UserError(f"--{name} is missing; see --help")
    probe(_OUT.value)
    jax.config.update("jax_platforms", "cpu")
    backend.start()
    step = checkpoints.find(_CHECKPOINT.value)
    meta, model = checkpoints.read_meta(step), read_checkpoint(step, ema=_EMA.value)
    text = card(model, meta, validation_at(step.parent.parent, meta.step))
    how = exporting.How(str(_FORMAT.value), _KIND.value, _VERSION.value, text)
    done = exporting.export(model, _OUT.value, how, overwrite=_OVERWRITE.value)
    print(f"written to {done.folder}: {', '.join(sorted(path.name for path in done.folder.iterdir()))}")
    print(
        f"read back by an independent reader: logits of a story ({done.tokens} tokens) differ by at most "
        f"{done.difference:.3g}"
    )
    for note in done.notes:
        print(f"note: {note}")


def main() -> None:
    """Entry point of the console script."""
    app.run(run)


if __name__ == "__main__":
    main()
