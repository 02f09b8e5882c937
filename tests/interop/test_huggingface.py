"""Hugging Face's folders: the real library's numbers come out here; what is written is read again."""

import dataclasses
import json
import os
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.flax
import safetensors.numpy

from tests.conftest import make_stories
from tests.interop import golden
from tests.interop.conftest import SHAPES, assert_equal, random_model
from tests.interop.test_torch_file import torch_bytes
from tests.tokenizer.test_byte_level import trained
from tinyjax.errors import UserError
from tinyjax.interop import huggingface
from tinyjax.interop.model import Model, without_padding
from tinyjax.model.decoder import Decoder
from tinyjax.tokenizer import Tokenizer, cut_vocabulary

VOCAB = 48  # ids of the golden models; no tokenizer is that small


@pytest.fixture
def small_tokenizer(monkeypatch: pytest.MonkeyPatch, tokenizer: Tokenizer) -> Tokenizer:
    """One that claims to have few ids."""
    monkeypatch.setattr(Tokenizer, "vocab_size", VOCAB)
    return tokenizer


def golden_folder(name: str, folder: pathlib.Path) -> pathlib.Path:
    """A folder of the real library, but that its weights are written here."""
    case = golden.load(name)
    (folder / "config.json").write_text(json.dumps(case["config"]))
    safetensors.numpy.save_file(golden.draw(case["shapes"]), folder / "model.safetensors")
    return folder


def exact(model: Model) -> Model:
    """The model in float32, by the plainest attention, to which the others are compared elsewhere."""
    config = dataclasses.replace(model.config, compute_dtype="float32", attention="reference").freeze()
    return dataclasses.replace(model, config=config)


def logits_and_gradients(model: Model, ids_BT: np.ndarray) -> tuple[np.ndarray, dict]:
    """Returns logits [B, T, V], and the gradient of the mean loss of the next token."""

    def loss(params: dict) -> tuple[jax.Array, jax.Array]:
        logits_BTV: Any = Decoder(model.config).apply({"params": params}, ids_BT)
        log_odds_BTV = jax.nn.log_softmax(logits_BTV[:, :-1])
        return -jnp.take_along_axis(log_odds_BTV, ids_BT[:, 1:, None], axis=-1).mean(), logits_BTV

    gradients, logits_BTV = jax.device_get(jax.jit(jax.grad(loss, has_aux=True))(model.params))
    return logits_BTV, gradients


@pytest.mark.slow
@pytest.mark.parametrize("name", golden.NAMES)
def test_logits_and_gradients_are_those_of_the_real_library(
    name: str, tmp_path: pathlib.Path, small_tokenizer: Tokenizer
):
    case = golden.load(name)
    model = exact(huggingface.read(golden_folder(name, tmp_path), small_tokenizer))
    logits_BTV, found = logits_and_gradients(model, case["ids"])
    wanted_BTV = case["logits"]
    np.testing.assert_allclose(logits_BTV, wanted_BTV, rtol=0, atol=1e-5 * np.abs(wanted_BTV).max())
    gradients = huggingface.to_tensors(model.config, found)
    assert gradients.keys() == case["shapes"].keys()
    wanted = case["gradients"]
    np.testing.assert_allclose(golden.digest(gradients) / wanted[:, -1:], wanted / wanted[:, -1:], atol=1e-5)


def test_the_golden_models_are_of_all_kinds():
    architectures = [golden.load(name)["config"]["architectures"][0] for name in golden.NAMES]
    assert set(architectures) == {"GPTNeoForCausalLM", "LlamaForCausalLM", "Qwen3ForCausalLM"}


def test_what_is_written_is_read_again_without_the_rows_that_only_pad(model: Model, tmp_path: pathlib.Path):
    assert huggingface.write(model, tmp_path / "out", card="# A model") == []
    again = huggingface.read(tmp_path / "out")
    assert again.config.vocab_size == model.tokenizer.vocab_size < model.config.vocab_size
    assert_equal(again, without_padding(model))
    assert (tmp_path / "out" / "README.md").read_text() == "# A model"


@pytest.mark.parametrize("name", golden.NAMES)
def test_a_folder_of_the_real_library_is_written_as_it_was(
    name: str, tmp_path: pathlib.Path, small_tokenizer: Tokenizer
):
    model = huggingface.read(golden_folder(name, tmp_path), small_tokenizer)
    tensors = huggingface.to_tensors(model.config, model.params)
    wanted = golden.draw(golden.load(name)["shapes"])
    assert tensors.keys() == wanted.keys()
    for key, x in wanted.items():
        np.testing.assert_array_equal(tensors[key], x)


@pytest.fixture
def folder(tokenizer: Tokenizer, tmp_path: pathlib.Path) -> pathlib.Path:
    """A llama's folder."""
    huggingface.write(random_model(tokenizer), tmp_path / "llama")
    return tmp_path / "llama"


def tensors_in(folder: pathlib.Path) -> dict[str, np.ndarray]:
    return safetensors.numpy.load_file(folder / "model.safetensors")


def rewrite(folder: pathlib.Path, tensors: dict) -> pathlib.Path:
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")
    return folder


def set_config(folder: pathlib.Path, **values: object) -> pathlib.Path:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return folder


def test_shards_and_pytorch_files_and_single_files_hold_the_same_model(folder: pathlib.Path):
    whole, tensors = huggingface.read(folder), tensors_in(folder)
    assert_equal(huggingface.read(folder / "model.safetensors"), whole)
    (folder / "model.safetensors").unlink()
    places = {name: f"model-0000{i % 2 + 1}-of-00002.safetensors" for i, name in enumerate(tensors)}
    for shard in set(places.values()):
        held = {name: x for name, x in tensors.items() if places[name] == shard}
        safetensors.numpy.save_file(held, folder / shard)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    assert_equal(huggingface.read(folder), whole)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(UserError, match=r"lacks model-00002-of-00002\.safetensors"):
        huggingface.read(folder)
    index.unlink()
    (folder / "pytorch_model.bin").write_bytes(torch_bytes(tensors))
    assert_equal(huggingface.read(folder), whole)


def test_half_precision_is_read_exactly(folder: pathlib.Path):
    tensors, name = tensors_in(folder), "model.layers.0.mlp.up_proj.weight"
    for dtype in (jnp.bfloat16, jnp.float16):
        half = jnp.array(tensors[name], dtype)
        held = {key: jnp.array(x) for key, x in tensors.items()} | {name: half}
        safetensors.flax.save_file(held, folder / "model.safetensors")
        read = huggingface.read(folder)
        again = huggingface.to_tensors(read.config, read.params)
        np.testing.assert_array_equal(again[name], np.asarray(half, np.float32))


def test_constants_of_older_files_are_left_out(tokenizer: Tokenizer, tmp_path: pathlib.Path):
    model = random_model(tokenizer, **SHAPES["gpt_neo"])
    huggingface.write(model, tmp_path)
    tensors = tensors_in(tmp_path)
    tensors |= {
        "transformer.h.0.attn.attention.bias": np.tril(np.ones((1, 1, 64, 64), bool)),
        "transformer.h.0.attn.attention.masked_bias": np.full((), -1e9, np.float32),
        "lm_head.weight": tensors["transformer.wte.weight"],
    }
    assert_equal(huggingface.read(rewrite(tmp_path, tensors)), without_padding(model))


def test_a_model_whose_blocks_all_see_everything_is_computed_so(tokenizer: Tokenizer, tmp_path: pathlib.Path):
    huggingface.write(random_model(tokenizer, **SHAPES["gpt_neo"]), tmp_path)
    read = huggingface.read(set_config(tmp_path, attention_types=[[["global"], 3]]))
    assert read.config.window == read.config.context_length


def test_a_folder_as_the_papers_models_have_it(byte_level: Tokenizer, tmp_path: pathlib.Path):
    """GPT-Neo in pytorch_model.bin, old constants included, with GPT-2's two files for the tokenizer."""
    model = random_model(byte_level, **SHAPES["gpt_neo"] | {"vocab_size": 300})
    (tmp_path / "config.json").write_text(
        json.dumps(
            {
                "architectures": ["GPTNeoForCausalLM"], "model_type": "gpt_neo",
                "activation_function": "gelu_new", "attention_dropout": 0,
                "attention_layers": ["global", "local", "global"],
                "attention_types": [[["global", "local"], 1], [["global"], 1]], "bos_token_id": 50256,
                "embed_dropout": 0, "eos_token_id": 50256, "gradient_checkpointing": False, "hidden_size": 32,
                "initializer_range": 0.02, "intermediate_size": 64, "layer_norm_epsilon": 1e-05,
                "max_position_embeddings": 64, "num_heads": 4, "num_layers": 3, "resid_dropout": 0,
                "torch_dtype": "float32", "use_cache": True, "vocab_size": 300, "window_size": 5,
            }
        )
    )  # fmt: skip
    constants = {
        f"transformer.h.{i}.attn.attention.{name}": x
        for i in range(3)
        for name, x in {
            "bias": np.ones((1, 1, 64, 64), np.uint8),
            "masked_bias": np.full((), -1e9, np.float32),
        }.items()
    }
    tensors = huggingface.to_tensors(model.config, model.params)
    head = {"lm_head.weight": tensors["transformer.wte.weight"]}
    (tmp_path / "pytorch_model.bin").write_bytes(torch_bytes(tensors | constants | head))
    trained(vocab_size=300).save_model(str(tmp_path))
    read = huggingface.read(tmp_path)
    assert_equal(dataclasses.replace(read, tokenizer=byte_level), model)
    assert read.tokenizer.piece_bytes == byte_level.piece_bytes
    assert read.tokenizer.eos_id == byte_level.eos_id


def test_a_tokenizer_that_no_tokenizer_json_can_be_travels_for_us(
    byte_level: Tokenizer, tmp_path: pathlib.Path
):
    cut = cut_vocabulary(byte_level, make_stories(20), 280)
    model = random_model(cut, vocab_size=cut.vocab_size)
    (note,) = huggingface.write(model, tmp_path)
    assert "No tokenizer.json was written" in note
    assert not (tmp_path / "tokenizer.json").exists()
    assert_equal(huggingface.read(tmp_path), model)


def test_dropout_is_left_out_with_a_word(folder: pathlib.Path, caplog: pytest.LogCaptureFixture):
    huggingface.read(set_config(folder, attention_dropout=0.1))
    assert "attention_dropout is for training and left out" in caplog.text


CHANGED_SETTINGS = [
    ({"architectures": ["GPT2LMHeadModel"]}, "the architecture is GPT2LMHeadModel"),
    ({"architectures": ["LlamaForCausalLN"]}, r"did you mean 'LlamaForCausalLM'"),
    ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
    ({"attention_bias": True}, "attention_bias is True"),
    ({"rope_parameters": {"rope_type": "llama3", "factor": 8}}, "rope_type is 'llama3'"),
    ({"num_hidden_layers": None}, "no number 'num_hidden_layers'"),
    ({"num_key_value_heads": 3}, "num_kv_heads is 3"),
    ({"intermediate_size": 65}, r"up_proj.weight has shape \(64, 32\), expected \(65, 32\)"),
    ({"tie_word_embeddings": False}, r"missing lm_head.weight \(300, 32\)"),
]


@pytest.mark.parametrize(("values", "said"), CHANGED_SETTINGS)
def test_settings_that_do_not_fit_or_are_not_known_are_refused(folder: pathlib.Path, values: dict, said: str):
    with pytest.raises(UserError, match=said):
        huggingface.read(set_config(folder, **values))


def test_other_orders_of_attention_are_refused(tokenizer: Tokenizer, tmp_path: pathlib.Path):
    huggingface.write(random_model(tokenizer, **SHAPES["gpt_neo"]), tmp_path)
    with pytest.raises(UserError, match="attention_types are local, global, local"):
        huggingface.read(set_config(tmp_path, attention_types=[[["local", "global"], 1], [["local"], 1]]))
    with pytest.raises(UserError, match="name 2 blocks, but num_layers is 3"):
        huggingface.read(set_config(tmp_path, attention_types=[[["global"], 2]]))


def test_tensors_that_are_missing_extra_or_of_another_head_are_named(folder: pathlib.Path):
    tensors = tensors_in(folder)
    norm = tensors.pop("model.norm.weight")
    with pytest.raises(UserError, match=r"missing model.norm.weight \(32,\)"):
        huggingface.read(rewrite(folder, tensors))
    with pytest.raises(UserError, match=r"not expected model.extra \(32,\)"):
        huggingface.read(rewrite(folder, tensors | {"model.norm.weight": norm, "model.extra": norm}))
    head = {"lm_head.weight": tensors["model.embed_tokens.weight"] + 1}
    with pytest.raises(UserError, match="a head of its own"):
        huggingface.read(rewrite(folder, tensors | {"model.norm.weight": norm} | head))


def test_numbers_that_are_not_finite_are_refused(folder: pathlib.Path):
    tensors = tensors_in(folder)
    tensors["model.norm.weight"] = np.full(32, np.nan, np.float32)
    with pytest.raises(UserError, match="final_norm holds numbers that are not finite"):
        huggingface.read(rewrite(folder, tensors))


def test_damaged_and_missing_files_are_named(folder: pathlib.Path, tmp_path: pathlib.Path):
    weights = folder / "model.safetensors"
    data = weights.read_bytes()
    for damaged in (data[:-100], data[:7], b"x" * 1000, b""):
        weights.write_bytes(damaged)
        with pytest.raises(UserError, match="no safetensors file, or cut short"):
            huggingface.read(folder)
    weights.unlink()
    with pytest.raises(UserError, match="holds no weights"):
        huggingface.read(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(UserError, match="is no JSON"):
        huggingface.read(folder)
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match="says what the weights are"):
        huggingface.read(folder)
    with pytest.raises(UserError, match="there is no model at"):
        huggingface.read(tmp_path / "nothing" / "here")


def test_the_tokenizer_is_the_folders_or_has_to_be_given(folder: pathlib.Path, tokenizer: Tokenizer):
    (folder / "tokenizer.model").unlink()
    with pytest.raises(UserError, match=r"tokenizer\.json of byte-level"):
        huggingface.read(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(UserError, match="--tokenizer=PATH"):
        huggingface.read(folder)
    assert huggingface.read(folder, tokenizer).tokenizer == tokenizer
    tensors = tensors_in(folder)
    tensors["model.embed_tokens.weight"] = tensors["model.embed_tokens.weight"][:200]
    set_config(rewrite(folder, tensors), vocab_size=200)
    with pytest.raises(UserError, match="the tokenizer has 300 ids"):
        huggingface.read(folder, tokenizer)


def test_sizes_that_an_architecture_has_no_place_for_are_refused(
    tokenizer: Tokenizer, tmp_path: pathlib.Path
):
    with pytest.raises(UserError, match="--format=safetensors"):
        huggingface.write(random_model(tokenizer, **SHAPES["gpt_neo"] | {"head_dim": 4}), tmp_path)
    with pytest.raises(UserError, match="--format=safetensors"):
        huggingface.write(random_model(tokenizer, num_heads=6), tmp_path)


def test_a_name_on_the_hub_without_a_network_is_explained(monkeypatch: pytest.MonkeyPatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"'owner/no-such-model' is no path here, and can't be fetched"):
        huggingface.read("owner/no-such-model")
    assert "owner" not in os.listdir()
