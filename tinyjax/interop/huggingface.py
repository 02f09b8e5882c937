"""Folders of Hugging Face's `transformers`: GPTNeoForCausalLM, LlamaForCausalLM and Qwen3ForCausalLM.

A folder holds config.json, the weights (model.safetensors or pytorch_model.bin, whole or in shards) and the
tokenizer. `write` makes one that the library loads without a network, and that tells the same stories.
"""

import json
import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from etils import epath

from tinyjax.checkpoint import manager as checkpoints
from tinyjax.config import ModelConfig
from tinyjax.errors import UserError
from tinyjax.interop.hf_config import Architecture, architecture_for, read_config, write_config
from tinyjax.interop.hf_tokenizer import NotExpressible, special_tokens, tokenizer_json
from tinyjax.interop.model import Model, checked, needed, validated, without_padding
from tinyjax.interop.tensors import Tensors, read_file, read_weights, write_safetensors
from tinyjax.model.parameters import Parameter, declare
from tinyjax.tokenizer import Tokenizer, load_tokenizer
from tinyjax.tokenizer.model import is_json

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
TOKENIZER_SETTINGS = "tokenizer_config.json"
SENTENCEPIECE, BYTE_LEVEL, CUT = "tokenizer.model", "tokenizer.json", "tokenizer.cut.json"
_FETCHED = ["config.json", "tokenizer.*", "vocab.json", "merges.txt"]
_HUB_NAME = r"[\w.-]+/[\w.-]+"


# Reading.


def read(source: epath.PathLike, tokenizer: Tokenizer | None = None) -> Model:
    """Reads a folder, or one file of weights with config.json beside it.

    Args:
      source: a path, local or gs://, or a name on the hub, as in roneneldan/TinyStories-33M.
      tokenizer: the model's; None: that of the folder.

    Raises:
      UserError: something is missing, damaged or not known here.
    """
    path = _located(source)
    folder = path if path.is_dir() else path.parent
    architecture, config = read_config(_read_json(folder / CONFIG), str(folder / CONFIG))
    config = validated(config, folder / CONFIG)
    tensors = read_weights(folder) if path.is_dir() else read_file(path)
    params = from_tensors(architecture, config, tensors, str(path))
    return checked(Model(config, params, tokenizer or _read_tokenizer(folder)), path)


def _located(source: epath.PathLike) -> epath.Path:
    """Returns a path that exists; what is not there but reads like a name on the hub is fetched."""
    path = epath.Path(source)
    if path.exists():
        return path
    if not re.fullmatch(_HUB_NAME, str(source)):
        raise UserError(f"there is no model at '{source}'; give a folder, a file, or a name on the hub")
    return _fetched(str(source))


def _fetched(name: str) -> epath.Path:
    """Downloads what is needed of a model on the hub; returns the folder, which the hub's library keeps."""
    try:
        import huggingface_hub as hub
    except ImportError:
        raise UserError(
            f"'{name}' is no path here, and names on the hub need the package 'huggingface_hub'; pip "
            "install 'tinyjax[hf]'"
        ) from None
    try:
        there = hub.list_repo_files(name)
        safe = any(file.endswith(".safetensors") for file in there)
        weights = "model*.safetensors*" if safe else "pytorch_model*.bin*"
        return epath.Path(hub.snapshot_download(name, allow_patterns=[*_FETCHED, weights]))
    except Exception as error:  # the library, and what it is built on, raise many
        raise UserError(
            f"'{name}' is no path here, and can't be fetched from the hub ({type(error).__name__}); check "
            "the name and the network, or give the path of a folder that was downloaded elsewhere"
        ) from error


def _read_json(path: epath.Path) -> dict[str, Any]:
    if not path.exists():
        raise UserError(f"there is no '{path}', which says what the weights are; get the whole folder")
    try:
        values = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"'{path}' is no JSON ({error}); get it again") from error
    if not isinstance(values, dict):
        raise UserError(f"'{path}' holds no settings; get it again")
    return values


def _read_tokenizer(folder: epath.Path) -> Tokenizer:
    for name in (SENTENCEPIECE, CUT):
        if (folder / name).exists():
            return load_tokenizer(folder / name)
    if not any((folder / name).exists() for name in (BYTE_LEVEL, "vocab.json")):
        return needed(None, folder)
    return load_tokenizer(folder)


# Names and orientation of the tensors: PyTorch's matrices are [outputs, inputs].


def to_tensors(config: ModelConfig, params: dict) -> Tensors:
    """Returns the parameters, or their gradients, as the tensors of the model's architecture."""
    return {
        name: np.ascontiguousarray(_to_linear(_part(params, path), parameter))
        for name, path, parameter in _places(architecture_for(config), config)
    }


def from_tensors(architecture: Architecture, config: ModelConfig, tensors: Tensors, source: str) -> dict:
    """Returns the tree of parameters; UserError where a tensor is missing, not expected or misshapen."""
    tensors = _without_buffers(architecture, config, tensors, source)
    places = list(_places(architecture, config))
    wanted = {name: _linear_shape(parameter, path) for name, path, parameter in places}
    if problems := checkpoints.differences({name: x.shape for name, x in tensors.items()}, wanted):
        raise UserError(
            f"'{source}' is no {architecture.name} of the sizes in its {CONFIG}: "
            f"{checkpoints.listed(problems)}; get the folder again, or from where it is whole"
        )
    params: dict[str, Any] = {"layers": {}}
    for name, path, parameter in places:
        x = tensors[name].astype(np.float32)
        if len(path) == 1:
            params[path[0]] = x
        else:
            params["layers"].setdefault(path[1], []).append(_from_linear(x, parameter))
    return params | {"layers": {name: np.stack(blocks) for name, blocks in params["layers"].items()}}


def _places(
    architecture: Architecture, config: ModelConfig
) -> Iterator[tuple[str, tuple[Any, ...], Parameter]]:
    """Yields name, place among ours and declaration of each tensor; a block's place ends in its number."""
    for ours, declared in declare(config).items():
        if ours != "layers":
            yield architecture.top[ours], (ours,), declared
            continue
        for name, parameter in declared.items():
            for i in range(config.num_layers):
                yield architecture.blocks.format(i) + architecture.block[name], (ours, name, i), parameter


def _part(params: dict, path: tuple[Any, ...]) -> np.ndarray:
    return params[path[0]] if len(path) == 1 else params["layers"][path[1]][path[2]]


def _inputs(parameter: Parameter) -> int:
    """Returns how many inputs a matrix sums over."""
    return math.prod(parameter.shape[i] for i in parameter.inputs)


def _linear_shape(parameter: Parameter, path: tuple[Any, ...]) -> tuple[int, ...]:
    shape = parameter.shape if len(path) == 1 else parameter.shape[1:]
    if parameter.role != "matrix":
        return shape
    return math.prod(shape) // _inputs(parameter), _inputs(parameter)


def _to_linear(x: np.ndarray, parameter: Parameter) -> np.ndarray:
    return x if parameter.role != "matrix" else x.reshape(_inputs(parameter), -1).T


def _from_linear(x: np.ndarray, parameter: Parameter) -> np.ndarray:
    return x if parameter.role != "matrix" else x.T.reshape(parameter.shape[1:])


def _without_buffers(
    architecture: Architecture, config: ModelConfig, tensors: Tensors, source: str
) -> Tensors:
    """Leaves out constants that older files hold, and a head that is stored though it is the embedding."""
    kept = {name: x for name, x in tensors.items() if not re.fullmatch(architecture.buffers, name)}
    head, embedding = architecture.top["head"], architecture.top["embedding"]
    if config.tie_embeddings and head in kept and embedding in kept:
        if not np.array_equal(kept[head], kept[embedding]):
            raise UserError(
                f"'{source}' has a head of its own ({head}), but its {CONFIG} ties it to the embedding; set "
                "tie_word_embeddings to false there if it is meant"
            )
        del kept[head]
    return kept


# Writing.


def write(model: Model, folder: epath.PathLike, card: str = "") -> list[str]:
    """Writes a folder; returns what the user should know, in sentences.

    Args:
      model: what to write; rows that only pad the vocabulary are left out.
      folder: a new one.
      card: what README.md says of the model.

    Raises:
      UserError: the architecture can't hold the model's sizes.
    """
    model, folder = without_padding(model), epath.Path(folder)
    values, tensors = write_config(model.config), to_tensors(model.config, model.params)
    folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(tensors, folder / WEIGHTS, format="pt")
    ids = _special_ids(model.tokenizer)
    _write_json(folder / CONFIG, values | ids)
    _write_json(folder / "generation_config.json", _generation(model, ids))
    notes = _write_tokenizer(model, folder)
    (folder / CARD).write_text(card)
    return notes


def _special_ids(tokenizer: Tokenizer) -> dict[str, int]:
    return {
        "bos_token_id": tokenizer.bos_id,
        "eos_token_id": tokenizer.eos_id,
        "pad_token_id": tokenizer.pad_id,
    }


def _generation(model: Model, ids: dict[str, int]) -> dict[str, Any]:
    """Returns the settings of sampling: as here, ids that stand for no text are never drawn."""
    tokenizer = model.tokenizer
    silent = sorted({tokenizer.pad_id, tokenizer.bos_id, tokenizer.unk_id} - {tokenizer.eos_id})
    never = {"suppress_tokens": silent} if silent else {}
    return ids | never | {"max_length": model.config.context_length}


def _write_tokenizer(model: Model, folder: epath.Path) -> list[str]:
    """Writes the tokenizer as it is where that isn't a tokenizer.json, and as a tokenizer.json."""
    tokenizer = model.tokenizer
    original = SENTENCEPIECE if not is_json(tokenizer.model) else CUT
    try:
        text = tokenizer_json(tokenizer)
    except NotExpressible as error:
        tokenizer.save(folder / original)
        return [f"No {BYTE_LEVEL} was written: {error}. The tokenizer is there as {original}, for tinyjax."]
    if not is_json(tokenizer.model):
        tokenizer.save(folder / original)
    (folder / BYTE_LEVEL).write_text(text)
    _write_json(
        folder / TOKENIZER_SETTINGS,
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            **special_tokens(tokenizer),
            "split_special_tokens": True,  # in a text they are text
            "clean_up_tokenization_spaces": False,
            "model_max_length": model.config.context_length,
        },
    )
    return []


def _write_json(path: epath.Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n")
