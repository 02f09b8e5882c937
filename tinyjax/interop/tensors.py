"""Tensors by name: reading safetensors and sharded files, and our parameters under the names of others."""

import json
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
from etils import epath

from tinyjax.errors import UserError
from tinyjax.interop.torch_file import read_torch_file

Tensors = dict[str, np.ndarray]

_DTYPES = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16,
    "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8, "U8": np.uint8, "BOOL": np.bool_,
}  # fmt: skip
WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # the files of a folder, the first that is there


def library() -> Any:
    """Returns the package `safetensors`; UserError where it is missing."""
    try:
        import safetensors.numpy
    except ImportError:
        raise UserError("safetensors need the package of that name; pip install 'tinyjax[hf]'") from None
    return safetensors


def read_safetensors(path: epath.PathLike) -> Tensors:
    """Returns the tensors of a safetensors file; UserError where it is damaged or has unknown dtypes."""
    safetensors, data = library(), epath.Path(path).read_bytes()
    try:
        entries = safetensors.deserialize(data)
    except safetensors.SafetensorError as error:
        raise UserError(f"'{path}' is no safetensors file, or cut short ({error}); get it again") from error
    for name, entry in entries:
        if entry["dtype"] not in _DTYPES:
            raise UserError(f"'{path}': {name} is of type {entry['dtype']}, which isn't known here")
    return {
        name: np.frombuffer(entry["data"], _DTYPES[entry["dtype"]]).reshape(entry["shape"])
        for name, entry in entries
    }


def read_metadata(path: epath.PathLike) -> dict[str, str]:
    """Returns the texts that a safetensors file holds beside its tensors; none where it is no such file.

    The file begins with the length of its JSON, 8 bytes, little-endian.
    """
    with epath.Path(path).open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > 100_000_000:  # the format's own limit
            return {}
        header = file.read(length)
    try:
        return json.loads(header).get("__metadata__", {})
    except (ValueError, AttributeError):
        return {}


def write_safetensors(tensors: Mapping[str, np.ndarray], path: epath.PathLike, **metadata: str) -> None:
    """Writes tensors, and texts beside them."""
    epath.Path(path).write_bytes(library().numpy.save(dict(tensors), metadata))


def read_weights(folder: epath.Path) -> Tensors:
    """Returns all tensors of a folder: of model.safetensors, or pytorch_model.bin, whole or in shards.

    Raises:
      UserError: there is none of these, a shard is missing, or a file can't be read.
    """
    for name in WEIGHTS:
        if (folder / name).exists():
            return read_file(folder / name)
        if (index := folder / f"{name}.index.json").exists():
            return _read_shards(index)
    raise UserError(f"'{folder}' holds no weights ({' or '.join(WEIGHTS)}); get the folder again")


def read_file(path: epath.Path) -> Tensors:
    """Returns the tensors of a safetensors file or one of PyTorch's, which its name tells apart."""
    return read_safetensors(path) if path.suffix == ".safetensors" else read_torch_file(path)


def _read_shards(index: epath.Path) -> Tensors:
    try:
        places = json.loads(index.read_text())["weight_map"]
        names = sorted(set(places.values()))
    except (ValueError, KeyError, AttributeError) as error:
        raise UserError(f"'{index}' can't be read ({error}); get it again") from error
    tensors: Tensors = {}
    for name in names:
        if "/" in name or not (index.parent / name).exists():
            raise UserError(f"'{index.parent}' lacks {name}, which {index.name} names; get it too")
        tensors |= read_file(index.parent / name)
    return tensors
