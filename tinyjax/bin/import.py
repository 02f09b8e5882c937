"""Turns a model of another program into a checkpoint.

    python -m tinyjax.bin.import --source=TinyStories-33M --run_dir=runs/paper-33M     Hugging Face
    python -m tinyjax.bin.import --source=stories15M.bin --run_dir=runs/stories15M     llama2.c
    python -m tinyjax.bin.import --source=model.gguf --run_dir=runs/model              llama.cpp

Also Hugging Face's files (model.safetensors, pytorch_model.bin, config.json beside them), a name on its hub,
and what `export` writes. Then `sample`, `ckpt`, `export` and --config.train.init_from take the run folder.
"""

import sys
from collections.abc import Sequence

import jax
from absl import flags

from tinyjax.bin import app, backend
from tinyjax.checkpoint.preflight import FOR_CHECKPOINTS, probe
from tinyjax.errors import UserError
from tinyjax.interop.llama2c_tokenizer import read_tokenizer
from tinyjax.interop.model import num_parameters, write_checkpoint
from tinyjax.interop.reading import read

_SOURCE = flags.DEFINE_string("source", "", "File, folder (local or gs://) or name on the hub.")
_RUN_DIR = flags.DEFINE_string("run_dir", "", "Run folder for the checkpoint; a new one, local or gs://.")
_TOKENIZER = flags.DEFINE_string(
    "tokenizer", "", "Tokenizer of the model, where none is with it: a file or folder."
)
_INSTRUCT = flags.DEFINE_bool("instruct", False, "The model was trained on instructions before its stories.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace what was imported into the run folder earlier.")

_MANY = 64  # rows; fewer only pad the vocabulary to a round number


def run(argv: Sequence[str]) -> None:
    """Reads the model and writes the checkpoint, on the CPU."""
    del argv
    for name, holder in (("source", _SOURCE), ("run_dir", _RUN_DIR)):
        if not holder.value:
            raise UserError(f"--{name} is missing; see --help")
    probe(_RUN_DIR.value, FOR_CHECKPOINTS)
    jax.config.update("jax_platforms", "cpu")
    backend.start()
    tokenizer = read_tokenizer(_TOKENIZER.value) if _TOKENIZER.value else None
    model = read(_SOURCE.value, tokenizer)
    if (rows := model.config.vocab_size - model.tokenizer.vocab_size) >= _MANY:
        told = f"{rows:,} rows of the vocabulary have no id in the tokenizer; is it the right one?"
        print(f"warning: {told}", file=sys.stderr)
    step = write_checkpoint(model, _RUN_DIR.value, _SOURCE.value, _INSTRUCT.value, _OVERWRITE.value)
    config = model.config
    print(
        f"{config.family}: {num_parameters(model.params):,} parameters, {config.num_layers} blocks, width "
        f"{config.d_model}, context {config.context_length}, {model.tokenizer.vocab_size:,} ids"
    )
    print(f"written to {step}; next: python -m tinyjax.bin.sample --checkpoint={_RUN_DIR.value}")


def main() -> None:
    """Entry point."""
    app.run(run)


if __name__ == "__main__":
    main()
