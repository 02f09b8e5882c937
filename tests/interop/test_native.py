"""Our own safetensors: every number comes back, and NumPy alone is enough to read them."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import safetensors
import safetensors.numpy

from tests.interop.conftest import SHAPES, assert_equal, random_model
from tinyjax.errors import UserError
from tinyjax.interop import native
from tinyjax.interop.model import Model
from tinyjax.tokenizer import Tokenizer


def test_a_model_comes_back_as_it_was(model: Model, tmp_path: pathlib.Path):
    native.write(model, tmp_path / "model.safetensors")
    again = native.read(tmp_path / "model.safetensors")
    assert_equal(again, model)
    assert again.config == model.config
    assert native.is_native(tmp_path / "model.safetensors")


def test_it_is_read_without_jax_and_orbax(tokenizer: Tokenizer, tmp_path: pathlib.Path):
    path = tmp_path / "model.safetensors"
    native.write(random_model(tokenizer), path)
    code = (
        "import sys, json, base64, safetensors.numpy as s, safetensors\n"
        f"tensors = s.load_file({str(path)!r})\n"
        f"texts = safetensors.safe_open({str(path)!r}, 'numpy').metadata()\n"
        "config, sizes = json.loads(texts['config']), tensors['layers.query'].shape\n"
        "assert sizes == (config['num_layers'], config['d_model'], config['num_heads'], config['head_dim'])\n"
        "assert len(base64.b64decode(texts['tokenizer'])) > 1000\n"
        "assert not {'jax', 'orbax'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.fixture
def parts(tokenizer: Tokenizer, tmp_path: pathlib.Path) -> tuple[pathlib.Path, dict, dict]:
    """A file, its tensors and its texts."""
    path = tmp_path / "model.safetensors"
    native.write(random_model(tokenizer, **SHAPES["gpt_neo"]), path)
    with safetensors.safe_open(path, "numpy") as file:
        return path, {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata())  # noqa: SIM118


def test_what_is_wrong_with_a_file_is_named(parts: tuple[pathlib.Path, dict, dict]):
    path, tensors, texts = parts

    def assert_refused(said: str, tensors: dict = tensors, **changed: str) -> None:
        safetensors.numpy.save_file(tensors, path, texts | changed)
        with pytest.raises(UserError, match=said):
            native.read(path)

    without = {name: x for name, x in tensors.items() if name != "layers.up_bias"}
    assert_refused(r"missing layers/up_bias \(3, 64\)", without)
    assert_refused(r"not expected layers/more \(2,\)", tensors | {"layers.more": np.zeros(2, np.float32)})
    cut = {"final_norm": np.ones(31, np.float32)}
    assert_refused(r"final_norm has shape \(31,\), expected \(32,\)", tensors | cut)
    assert_refused("of format 'tinyjax-9'", format="tinyjax-9")
    assert_refused("of format 'pt'", format="pt")
    assert_refused("lacks its config or tokenizer", config="{")
    assert_refused("lacks its config or tokenizer", tokenizer="!")
    assert_refused("is not the one that was written", tokenizer_sha256="0")
    assert_refused("family is 'mamba'", config=json.dumps(json.loads(texts["config"]) | {"family": "mamba"}))
    assert_refused("unknown config key", config=json.dumps({"widht": 3}))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match="cut short"):
        native.read(path)


def test_other_files_are_not_taken_for_ours(tmp_path: pathlib.Path):
    for data in (b"", b"GGUF", b"\xff" * 20, b"\x02" + b"\0" * 7 + b"[]", b"\x09" + b"\0" * 7 + b"{"):
        (tmp_path / "file").write_bytes(data)
        assert not native.is_native(tmp_path / "file")
