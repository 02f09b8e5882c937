"""Reads the tensors of a file of `torch.save`, without PyTorch and without running what the file says.

Such a file is a ZIP archive: a pickle (protocol 2 or later) that rebuilds a dict of tensors, and the bytes of
each storage beside it. Unpickling runs any code that the pickle names, so that only the few names which
rebuild tensors are known here, and all others are refused.
"""

import collections
import dataclasses
import io
import math
import pickle
import zipfile
from typing import Any

import ml_dtypes
import numpy as np
from etils import epath

from tinyjax.errors import UserError

_DTYPES = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}


@dataclasses.dataclass(frozen=True)
class _StorageType:
    """Stands for a class of storages."""

    dtype: Any


def read_torch_file(path: epath.PathLike) -> dict[str, np.ndarray]:
    """Returns the tensors of a file that holds nothing but a dict of them.

    Raises:
      UserError: it is damaged, in the format before PyTorch 1.6, or holds anything else, such as code.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(epath.Path(path).read_bytes())) as archive:
            tensors = _Unpickler(archive).load()
    except UserError as error:
        raise UserError(f"'{path}': {error}") from None
    except Exception as error:  # a damaged pickle can raise anything
        raise UserError(
            f"'{path}' is no file that torch.save wrote, or damaged ({type(error).__name__}), or older than "
            "PyTorch 1.6; get it again, or take the model as safetensors"
        ) from error
    if not isinstance(tensors, dict) or not all(isinstance(x, np.ndarray) for x in tensors.values()):
        raise UserError(f"'{path}' holds more than tensors by name; save the model's state_dict alone")
    return dict(tensors)


class _Unpickler(pickle.Unpickler):
    """Rebuilds tensors as arrays, and nothing else."""

    def __init__(self, archive: zipfile.ZipFile):
        self.archive = archive
        (name,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        self.folder = name.removesuffix("data.pkl")
        order = f"{self.folder}byteorder"
        if order in archive.namelist() and archive.read(order) != b"little":
            raise UserError("its numbers are big-endian, which isn't known here; save it again elsewhere")
        super().__init__(io.BytesIO(archive.read(name)))

    def find_class(self, module: str, name: str) -> Any:
        """Returns what a name of the pickle stands for; UserError for all but a few."""
        if module == "torch" and name in _DTYPES:
            return _StorageType(_DTYPES[name])
        known = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
            ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
        }
        if (module, name) not in known:
            raise UserError(
                f"the file wants to run {module}.{name}, which no weights need: it was not read. Take the "
                "model as safetensors, or from where you trust it"
            )
        return known[module, name]

    def persistent_load(self, pid: Any) -> np.ndarray:
        """Returns the numbers of a storage."""
        kind, storage, key, _, count = pid
        if kind != "storage" or not isinstance(storage, _StorageType) or not str(key).isdigit():
            raise ValueError("no storage")
        return np.frombuffer(self.archive.read(f"{self.folder}data/{key}"), storage.dtype, count)


def _rebuild_tensor(storage: Any, offset: int, shape: tuple, strides: tuple, *_: Any) -> np.ndarray:
    """Cuts a tensor out of its storage."""
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if math.prod(shape) and (offset < 0 or min(strides, default=0) < 0 or last >= len(storage)):
        raise ValueError("a tensor beyond its storage")
    steps = [stride * storage.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps, writeable=False).copy()
