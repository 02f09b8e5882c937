"""The independent reader agrees with our model on what every format holds, and notices when it is wrong."""

import dataclasses
import pathlib

import jax
import numpy as np
import pytest

from tests.interop import golden
from tests.interop.conftest import SHAPES, random_model
from tests.interop.test_huggingface import golden_folder
from tinyjax.errors import UserError
from tinyjax.interop import check, exporting, gguf, huggingface, llama2c, native
from tinyjax.interop.exporting import How, export
from tinyjax.interop.model import Model
from tinyjax.interop.numpy_decoder import logits
from tinyjax.tokenizer import Tokenizer


@pytest.mark.parametrize("name", golden.NAMES)
def test_the_decoder_computes_what_the_real_library_did(name: str, tmp_path: pathlib.Path):
    case = golden.load(name)
    weights = check.read_huggingface(golden_folder(name, tmp_path))
    for ids, wanted_TV in zip(case["ids"], case["logits"], strict=True):
        np.testing.assert_allclose(
            logits(weights, ids), wanted_TV, rtol=0, atol=1e-5 * np.abs(wanted_TV).max()
        )


def test_exports_of_float32_are_equal_to_rounding(model: Model, tmp_path: pathlib.Path):
    for name in ("hf", "safetensors"):
        done = export(model, tmp_path / name, How(name))
        assert 0 < done.difference < 1e-4
        assert done.tokens == model.config.context_length
        assert any("20 rows of the vocabulary" in note for note in done.notes) == (name == "hf")


@pytest.mark.parametrize("how", [How("gguf"), How("gguf", kind="f16"), How("gguf", kind="q8_0")])
@pytest.mark.parametrize("name", ["llama", "llama_untied", "qwen3"])
def test_gguf_is_what_it_says(name: str, how: How, tokenizer: Tokenizer, tmp_path: pathlib.Path):
    done = export(random_model(tokenizer, **SHAPES[name]), tmp_path / "out", how)
    low, high = {"f32": (0, 1e-4), "f16": (1e-4, 0.1), "q8_0": (1e-2, 2)}[how.kind]
    assert low < done.difference < high


@pytest.mark.parametrize("version", llama2c.VERSIONS)
def test_llama2c_is_what_it_says(version: int, tokenizer: Tokenizer, tmp_path: pathlib.Path):
    done = export(random_model(tokenizer), tmp_path / "out", How("llama2c", version=version))
    low, high = (1e-2, 2) if version == 2 else (0, 1e-4)
    assert low < done.difference < high


def swapped(model: Model) -> Model:
    """The same model with keys for queries."""
    layers = model.params["layers"]
    turned = layers | {"query": layers["key"], "key": layers["query"]}
    return dataclasses.replace(model, params=model.params | {"layers": turned})


@pytest.mark.parametrize("how", [How("hf"), How("safetensors"), How("gguf"), How("gguf", kind="q8_0"),
                                 How("llama2c"), How("llama2c", version=2)], ids=str)  # fmt: skip
def test_a_mistake_of_the_writer_leaves_nothing(
    how: How, tokenizer: Tokenizer, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    model = random_model(tokenizer, num_kv_heads=4)
    for module in (huggingface, native, gguf, llama2c):
        write = module.write
        monkeypatch.setattr(module, "write", lambda m, *rest, write=write: write(swapped(m), *rest))
    with pytest.raises(UserError, match="does not compute what the model does"):
        export(model, tmp_path / "out", how)
    assert not list(tmp_path.iterdir())


def test_a_single_wrong_number_of_weight_is_noticed(
    tokenizer: Tokenizer, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    model = random_model(tokenizer)
    off = jax.tree.map(np.copy, model.params)
    off["layers"]["down"][1, 3, 5] += 0.5
    write = native.write
    wrong = dataclasses.replace(model, params=off)
    monkeypatch.setattr(native, "write", lambda _, path: write(wrong, path))
    with pytest.raises(UserError, match="does not compute what the model does"):
        export(model, tmp_path / "out", How("safetensors"))


def test_nothing_is_overwritten_but_an_earlier_export(tokenizer: Tokenizer, tmp_path: pathlib.Path):
    model, out, how = random_model(tokenizer), tmp_path / "out", How("safetensors")
    export(model, out, how)
    before = (out / "model.safetensors").read_bytes()
    other = random_model(tokenizer, qk_norm=True)
    with pytest.raises(UserError, match="is there already"):
        export(other, out, how)
    assert (out / "model.safetensors").read_bytes() == before
    export(other, out, how, overwrite=True)
    assert (out / "model.safetensors").read_bytes() != before
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"thesis\.txt"):
        export(model, out, how, overwrite=True)
    assert (out / "thesis.txt").read_text() == "mine"
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="holds what an export doesn't write"):
        export(model, tmp_path / "file", how, overwrite=True)


def test_every_format_has_a_writer_and_a_check():
    assert exporting.FORMATS == ("hf", "gguf", "llama2c", "safetensors")
