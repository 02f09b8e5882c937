"""One file for the long run: safetensors under our own names, with config and tokenizer inside.

It needs neither Orbax nor JAX to be read. The names are the paths of `parameters.declare` with dots:
layers.query has the shape [L, d_model, heads, head_dim]. The header's texts are `config` (JSON), `tokenizer`
(base64 of the model's bytes), `tokenizer_sha256` and `format`.
"""

import base64
import binascii
import json
from typing import Any

import numpy as np
from etils import epath

from tinyjax.checkpoint.manager import named_leaves
from tinyjax.config import ModelConfig, from_dict, to_dict
from tinyjax.errors import UserError
from tinyjax.interop.model import Model, checked
from tinyjax.interop.tensors import read_metadata, read_safetensors, write_safetensors
from tinyjax.tokenizer import Tokenizer

FORMAT = "tinyjax-1"


def is_native(path: epath.PathLike) -> bool:
    """Tells our safetensors from others'."""
    return read_metadata(path).get("format", "").startswith("tinyjax-")


def write(model: Model, path: epath.PathLike) -> None:
    """Writes a model, its padding rows included, to one file."""
    tensors = {name.replace("/", "."): np.asarray(x) for name, x in named_leaves(model.params).items()}
    write_safetensors(
        tensors,
        path,
        format=FORMAT,
        config=json.dumps(to_dict(model.config)),
        tokenizer=base64.b64encode(model.tokenizer.model).decode("ascii"),
        tokenizer_sha256=model.tokenizer.sha256,
    )


def read(path: epath.PathLike, tokenizer: Tokenizer | None = None) -> Model:
    """Reads what `write` wrote, with its own tokenizer where none is given.

    Raises:
      UserError: it is damaged, or of a format not known here.
    """
    tensors, texts = read_safetensors(path), read_metadata(path)
    if texts.get("format") != FORMAT:
        raise UserError(
            f"'{path}' is of format '{texts.get('format')}', and this tinyjax reads '{FORMAT}'; use the one "
            "that wrote it, or for others' weights a folder with a config.json"
        )
    try:
        config = from_dict(json.loads(texts["config"]), ModelConfig, "config.model")
        held = Tokenizer(base64.b64decode(texts["tokenizer"], validate=True))
    except (KeyError, ValueError, binascii.Error) as error:
        raise UserError(f"'{path}' lacks its config or tokenizer ({error}); get it again") from error
    if held.sha256 != texts.get("tokenizer_sha256"):
        raise UserError(f"the tokenizer in '{path}' is not the one that was written; get the file again")
    return checked(Model(config, _nested(tensors), tokenizer or held), path)


def _nested(tensors: dict[str, np.ndarray]) -> dict[str, Any]:
    """Returns {"a": {"b": x}} for {"a.b": x}."""
    tree: dict[str, Any] = {}
    for name, x in tensors.items():
        *parents, leaf = name.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = x
    return tree
