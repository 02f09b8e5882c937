"""PyTorch's files: tensors are read as they are, and whatever else a pickle can do is refused."""

import collections
import io
import os
import pathlib
import pickle
import sys
import types
import zipfile
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tinyjax.errors import UserError
from tinyjax.interop.torch_file import read_torch_file

STORAGES = {
    "float32": "FloatStorage", "float16": "HalfStorage", "bfloat16": "BFloat16Storage",
    "int64": "LongStorage", "bool": "BoolStorage", "uint8": "ByteStorage",
}  # fmt: skip


class _Tensor:
    """Pickles as PyTorch's tensors do: a storage by its key, then offset, shape and strides."""

    def __init__(self, x: np.ndarray, key: str, offset: int = 0, strides: tuple | None = None):
        self.x, self.key, self.offset = x, key, offset
        self.strides = tuple(s // x.itemsize for s in x.strides) if strides is None else strides

    def __reduce__(self):
        rebuild = vars(sys.modules["torch._utils"])["_rebuild_tensor_v2"]
        arguments = (_Storage(self.x, self.key), self.offset, self.x.shape, self.strides, False)
        return rebuild, (*arguments, collections.OrderedDict())


class _Storage:
    def __init__(self, x: np.ndarray, key: str):
        self.x, self.key = x, key


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        if not isinstance(obj, _Storage):
            return None
        kind = getattr(sys.modules["torch"], STORAGES[obj.x.dtype.name])
        return "storage", kind, obj.key, "cpu", obj.x.size


def _fake_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    torch, parts = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in STORAGES.values():
        setattr(torch, name, type(name, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2(*_: Any) -> None: ...

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    setattr(parts, "_rebuild_tensor_v2", _rebuild_tensor_v2)  # noqa: B010
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", parts)


def torch_bytes(tensors: dict[str, np.ndarray], extra: Any = None, **tampered: Any) -> bytes:
    """Writes the format that torch.save has had since PyTorch 1.6, without PyTorch."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        _fake_torch(monkeypatch)
        held = {
            name: _Tensor(np.ascontiguousarray(x), str(i), **tampered)
            for i, (name, x) in enumerate(tensors.items())
        }
        stream = io.BytesIO()
        _Pickler(stream, protocol=2).dump(collections.OrderedDict(held | (extra or {})))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        file.writestr("archive/data.pkl", stream.getvalue())
        file.writestr("archive/byteorder", "little")
        for i, x in enumerate(tensors.values()):
            file.writestr(f"archive/data/{i}", np.ascontiguousarray(x).tobytes())
    return archive.getvalue()


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "pytorch_model.bin"


def test_tensors_of_all_kinds_are_read_as_they_are(path: pathlib.Path):
    rng = np.random.default_rng(0)
    tensors = {dtype: rng.standard_normal((3, 4)).astype(np.dtype(dtype)) for dtype in STORAGES}
    tensors |= {"number": np.full((), 3, np.float32), "none": np.zeros((0, 3), np.float32)}
    assert np.dtype("bfloat16") == ml_dtypes.bfloat16
    path.write_bytes(torch_bytes(tensors))
    read = read_torch_file(path)
    assert read.keys() == tensors.keys()
    for name, x in tensors.items():
        assert read[name].dtype == x.dtype
        np.testing.assert_array_equal(read[name], x)


def test_views_into_a_storage_are_cut_out_by_their_strides(path: pathlib.Path):
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    path.write_bytes(torch_bytes({"a": x}, strides=(1, 3)))
    np.testing.assert_array_equal(read_torch_file(path)["a"], x.reshape(4, 3).T)


@pytest.mark.parametrize(
    "tampered", [{"offset": 1}, {"strides": (4, 2)}, {"strides": (-4, 1)}, {"offset": -1}]
)
def test_a_tensor_beyond_its_storage_is_refused(path: pathlib.Path, tampered: dict):
    path.write_bytes(torch_bytes({"a": np.zeros((3, 4), np.float32)}, **tampered))
    with pytest.raises(UserError, match="or damaged"):
        read_torch_file(path)


class _Code:
    """Runs a command when it is unpickled by those who trust it."""

    def __init__(self, command: str):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_a_pickle_with_code_is_refused_and_runs_nothing(path: pathlib.Path, tmp_path: pathlib.Path):
    path.write_bytes(torch_bytes({}, {"a": _Code(f"touch {tmp_path / 'ran'}")}))
    with pytest.raises(UserError, match=r"wants to run \w+\.system"):
        read_torch_file(path)
    assert not (tmp_path / "ran").exists()


def test_what_is_no_dict_of_tensors_is_refused(path: pathlib.Path):
    path.write_bytes(torch_bytes({"a": np.zeros(2, np.float32)}, {"epoch": 3}))
    with pytest.raises(UserError, match="more than tensors"):
        read_torch_file(path)


def test_damaged_files_are_refused(path: pathlib.Path):
    data = torch_bytes({"a": np.zeros((50, 50), np.float32)})
    for damaged in (
        data[:-200],
        data[:3000],
        b"",
        b"\x80\x02}q\x00.",
        data.replace(b"data.pkl", b"dada.pkl"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="or damaged"):
            read_torch_file(path)
