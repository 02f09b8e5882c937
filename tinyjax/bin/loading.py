"""Reads the model that a binary was given: a checkpoint, or what another program trained."""

import dataclasses

import jax
from etils import epath

from tinyjax.checkpoint.manager import find, read_meta
from tinyjax.checkpoint.remote import reached
from tinyjax.interop.reading import GGUF, LLAMA2C, SAFETENSORS, read
from tinyjax.sample.model import Model, load_model

# What a folder of a model of others holds, and a run folder doesn't.
_FOREIGN = (GGUF, LLAMA2C, SAFETENSORS, "model.safetensors.index.json", "pytorch_model.bin")


def load(path: epath.PathLike, ema: bool = True) -> Model:
    """Reads a run folder, one of its steps, or a file or folder of any format that `import` takes.

    Args:
      path: where it is, local or on gs://.
      ema: whether to read the moving average of the parameters where a run kept one, not the newest.

    Raises:
      UserError: there is no model, or it can't be read.
    """
    path = epath.Path(path)
    if not _is_foreign(path):
        return load_model(path, ema)
    model = read(path)
    config = dataclasses.replace(model.config, compute_dtype="float32").freeze()
    return Model(config, jax.device_put(model.params), model.tokenizer, step=0, instruct=False)


def kept_average(path: epath.PathLike) -> bool:
    """Returns whether there is a moving average of the parameters; never in models of others."""
    path = epath.Path(path)
    return not _is_foreign(path) and read_meta(find(path)).parameters_item() == "ema"


def _is_foreign(path: epath.Path) -> bool:
    with reached(path):
        return path.is_file() or any((path / name).exists() for name in _FOREIGN)
