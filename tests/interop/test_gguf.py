"""GGUF files: what llama.cpp's own library reads in them computes our logits; what is damaged is refused.

That llama.cpp itself loads them and tells the same, tests/parity says.
"""

import dataclasses
import json
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import gguf as library
import jax
import numpy as np
import pytest

from tests.interop.conftest import SHAPES, logits_of, random_model
from tests.tokenizer.test_byte_level import changed, trained
from tinyjax.errors import UserError
from tinyjax.interop import check, gguf, numpy_decoder
from tinyjax.interop.model import Model, without_padding
from tinyjax.tokenizer import Tokenizer, cut_vocabulary, load_tokenizer

NAMES = [name for name in SHAPES if "gpt_neo" not in name]
TEXTS = ["", "Tom  took\n\nthe kite. ", "caf\u00e9 \U0001f600 \0", "<s></s> <0x0A>", "\u2581", " a"]
TYPES = library.GGMLQuantizationType


@pytest.fixture(params=NAMES)
def llama(request: pytest.FixtureRequest, tokenizer: Tokenizer) -> Model:
    return without_padding(random_model(tokenizer, **SHAPES[request.param]))


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "model.gguf"


def types_of(path: pathlib.Path) -> dict[str, Any]:
    return {tensor.name: tensor.tensor_type for tensor in library.GGUFReader(path).tensors}


def fields_of(path: pathlib.Path) -> dict[str, Any]:
    return {name: field.contents() for name, field in library.GGUFReader(path).fields.items()}


def same_ids(a: Tokenizer, b: Tokenizer, texts: list[str]) -> bool:
    """Tells whether texts and special tokens have the same ids."""
    specials = [(t.bos_id, t.eos_id, t.unk_id, t.pad_id, t.piece_bytes) for t in (a, b)]
    return specials[0] == specials[1] and all(np.array_equal(a.encode(x), b.encode(x)) for x in texts)


# What is written.


@pytest.mark.parametrize(("kind", "tolerance"), [("f32", 1e-5), ("f16", 1e-2), ("q8_0", 0.2)])
def test_what_the_formats_own_library_reads_computes_our_logits(
    llama: Model, path: pathlib.Path, kind: str, tolerance: float
):
    gguf.write(llama, path, kind)
    ids = [1, *range(20, 300, 40)]
    theirs, ours = numpy_decoder.logits(check.read_gguf(path), ids), logits_of(llama, np.array([ids]))[0]
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=tolerance * np.abs(ours).max())


def test_float32_is_read_again_as_it_was(llama: Model, path: pathlib.Path, stories: list[str]):
    assert gguf.write(llama, path) == []
    again = gguf.read(path)
    assert dataclasses.replace(again.config, compute_dtype="float32") == llama.config
    jax.tree.map(np.testing.assert_array_equal, again.params, llama.params)
    assert same_ids(again.tokenizer, llama.tokenizer, stories[:20] + TEXTS)
    second = path.with_name("second.gguf")
    gguf.write(again, second)
    assert second.read_bytes() == path.read_bytes()


def test_float16_is_rounded_but_for_norms(llama: Model, path: pathlib.Path):
    gguf.write(llama, path, "f16")
    rounded = jax.tree.map(lambda x: x.astype(np.float16).astype(np.float32), llama.params)
    for name in ("attention_norm", "mlp_norm", "query_norm", "key_norm"):
        if name in rounded["layers"]:
            rounded["layers"][name] = llama.params["layers"][name]
    rounded["final_norm"] = llama.params["final_norm"]
    jax.tree.map(np.testing.assert_array_equal, gguf.read(path).params, rounded)


def test_int8_is_where_rows_allow_and_what_is_not_is_said(tokenizer: Tokenizer, path: pathlib.Path):
    model = random_model(tokenizer, d_ff=48, num_layers=1)
    assert gguf.write(model, path, "q8_0") == ["ffn_down in float16: Q8_0 takes rows of a multiple of 32"]
    types = types_of(path)
    assert types.pop("blk.0.ffn_down.weight") == TYPES.F16
    assert {types.pop(name) for name in list(types) if "norm" in name} == {TYPES.F32}
    assert set(types.values()) == {TYPES.Q8_0}
    before, after = model.params["layers"]["gate"], gguf.read(path).params["layers"]["gate"]
    step = np.abs(before).max(axis=1, keepdims=True) / 127  # of a row of 32 inputs
    assert (np.abs(after - before) <= 0.55 * step).all()
    assert gguf.write(model, path, "f16") == []


def test_the_fields_say_what_llama_cpp_asks_for(tokenizer: Tokenizer, path: pathlib.Path):
    gguf.write(random_model(tokenizer, rope_theta=500.0), path)
    fields = fields_of(path)
    tokens, kinds = (fields.pop(f"tokenizer.ggml.{name}") for name in ("tokens", "token_type"))
    scores = fields.pop("tokenizer.ggml.scores")
    assert len(tokens) == len(kinds) == len(scores) == fields.pop("llama.vocab_size") == 300
    assert tokens[:6] == ["<pad>", "<s>", "</s>", "<unk>", "\n", "<0x00>"]
    assert kinds[:6] == [3, 3, 3, 2, 4, 6]  # control, control, control, unknown, user-defined, byte
    assert set(kinds[262:]) == {1}
    assert scores[-1] < scores[-2]  # the later merged, the lower
    expected = {
        "general.architecture": "llama", "general.file_type": 0, "llama.context_length": 64,
        "llama.embedding_length": 32, "llama.block_count": 2, "llama.feed_forward_length": 64,
        "llama.attention.head_count": 4, "llama.attention.head_count_kv": 2, "llama.attention.key_length": 8,
        "llama.attention.value_length": 8, "llama.rope.dimension_count": 8, "llama.rope.freq_base": 500.0,
        "tokenizer.ggml.model": "llama", "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 3, "tokenizer.ggml.padding_token_id": 0,
        "tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.add_eos_token": False,
        "tokenizer.ggml.add_space_prefix": False,
    }  # fmt: skip
    assert expected.items() <= fields.items()
    assert fields["llama.attention.layer_norm_rms_epsilon"] == np.float32(1e-5)


def test_a_modelfile_without_a_chat_template_lies_beside_it(tokenizer: Tokenizer, path: pathlib.Path):
    gguf.write(random_model(tokenizer), path)
    assert [file.name for file in gguf.files(path)] == ["model.gguf", "Modelfile"]
    lines = path.with_name("Modelfile").read_text().splitlines()
    assert lines[:3] == ["FROM ./model.gguf", 'TEMPLATE "{{ .Prompt }}"', "PARAMETER num_ctx 64"]


# Tokenizers.


@pytest.mark.parametrize("name", ["llama2c/tok512.model", "tokenizers/tok4096.model"])
def test_tokenizers_of_others_give_the_same_ids_again(
    shared_data: pathlib.Path, train_sample: pathlib.Path, path: pathlib.Path, name: str
):
    tokenizer = load_tokenizer(shared_data / name)
    (said,) = gguf.write(random_model(tokenizer, vocab_size=tokenizer.vocab_size), path)
    assert said.startswith("llama.cpp gives other ids than the tokenizer to texts such as ' ' and")
    texts = [text.strip() for text in train_sample.read_text().split("<|endoftext|>")][:300]
    alike = [text for text in texts if "  " not in text]  # GGUF can't say that a tokenizer drops spaces
    assert fields_of(path)["tokenizer.ggml.add_space_prefix"] is True
    assert same_ids(gguf.read(path).tokenizer, tokenizer, alike)


def byte_level(folder: pathlib.Path, **parts: Any) -> Tokenizer:
    trained().save_model(str(folder))
    tokenizer = load_tokenizer(folder)
    return changed(json.loads(tokenizer.model), **parts) if parts else tokenizer


def test_byte_level_tokenizers_give_the_same_ids_again(path: pathlib.Path, stories: list[str]):
    model = random_model(byte_level(path.parent), vocab_size=384)
    gguf.write(model, path)
    assert fields_of(path)["tokenizer.ggml.token_type"].count(3) == 1  # the end of a text
    assert same_ids(gguf.read(path).tokenizer, model.tokenizer, stories[:20] + TEXTS)


def test_byte_level_tokenizers_of_other_ways_are_refused(path: pathlib.Path, stories: list[str]):
    whole = byte_level(path.parent)
    cut = cut_vocabulary(whole, stories, 300)
    other = byte_level(path.parent, normalizer={"type": "Lowercase"})
    for tokenizer in (cut, other):
        with pytest.raises(UserError, match=r"byte-level BPE that is whole .* --format=hf"):
            gguf.write(random_model(tokenizer, vocab_size=384), path)


# What can't be written.


def test_gpt_neo_is_refused(tokenizer: Tokenizer, path: pathlib.Path):
    with pytest.raises(UserError, match="no models of the family gpt_neo; export with --format=hf"):
        gguf.write(random_model(tokenizer, **SHAPES["gpt_neo"]), path)


@pytest.mark.parametrize("kind", ["f16", "q8_0"])
def test_numbers_beyond_float16_are_refused(tokenizer: Tokenizer, path: pathlib.Path, kind: str):
    model = random_model(tokenizer)
    model.params["layers"]["down"][0, 0, 0] = 1e5
    with pytest.raises(UserError, match=r"blk.0.ffn_down.weight holds numbers too large .* --kind=f32"):
        gguf.write(model, path, kind)


def test_a_missing_library_is_named(
    tokenizer: Tokenizer, path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(UserError, match=r"pip install 'tinyjax\[gguf\]'"):
        gguf.write(random_model(tokenizer), path)


# What can't be read.


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: b"", "is no GGUF file, or is damaged"),
        (lambda data: b"GGML" + data[4:], "is no GGUF file, or is damaged"),
        (lambda data: data[:4] + b"\x09" + data[5:], "is no GGUF file, or is damaged"),
        (lambda data: data[:100], "is no GGUF file, or is damaged"),
        (lambda data: data[:3000], "is no GGUF file, or is damaged"),
        (lambda data: data[: len(data) - 200], "is no GGUF file, or is damaged"),
        (lambda data: data + bytes(64), "64 bytes follow the last tensor"),
    ],
)
def test_a_damaged_file_is_refused(
    tokenizer: Tokenizer, path: pathlib.Path, damage: Callable[[bytes], bytes], said: str
):
    gguf.write(random_model(tokenizer), path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=said) as error:
        gguf.read(path)
    assert str(path) in str(error.value)


def rewrite(path: pathlib.Path, fields: dict[str, Any], tensors: dict[str, Any]) -> None:
    """Writes a file again with some fields and tensors changed, or without those that are None."""
    reader = library.GGUFReader(path)
    old = {name: (f.contents(), f.types) for name, f in reader.fields.items() if not name.startswith("GGUF.")}
    old_tensors = {t.name: (np.array(t.data), t.tensor_type) for t in reader.tensors}
    architecture = fields.pop("general.architecture", old.pop("general.architecture")[0])
    writer = library.GGUFWriter(path, architecture)
    for name, (value, types) in old.items():
        if (new := fields.get(name, value)) is not None:
            writer.add_key_value(name, new, types[0], types[-1] if len(types) > 1 else None)
    for name in fields.keys() - old.keys():
        writer.add_string(name, fields[name])
    for name, tensor in (old_tensors | tensors).items():
        if tensor is not None:
            writer.add_tensor(name, tensor[0], raw_dtype=tensor[1])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


BLOCK_Q4 = (np.zeros((32, 18), np.uint8), TYPES.Q4_0)  # a block of 32 numbers a row


@pytest.mark.parametrize(
    ("fields", "tensors", "said"),
    [
        ({"general.architecture": "gpt2"}, {}, "architecture is gpt2, and only llama and qwen3"),
        ({"llama.block_count": None}, {}, "the field llama.block_count is missing"),
        ({"llama.embedding_length": 0}, {}, "its fields make no sense"),
        ({"llama.attention.head_count_kv": 3}, {}, "its fields make no sense"),
        ({"llama.attention.value_length": 4}, {}, "value_length is 4, and only 8"),
        ({"llama.rope.scaling.type": "yarn"}, {}, "rope.scaling.type is yarn, and only none"),
        ({"llama.block_count": 3}, {}, "missing blk.2.attn_k.weight"),
        ({}, {"blk.1.ffn_up.weight": None}, "missing blk.1.ffn_up.weight"),
        ({}, {"blk.0.attn_q.bias": (np.zeros(32, np.float32), None)}, "not expected blk.0.attn_q.bias"),
        (
            {},
            {"blk.0.ffn_up.weight": (np.zeros((32, 32), np.float32), None)},
            "blk.0.ffn_up.weight has shape",
        ),
        ({}, {"blk.0.attn_q.weight": BLOCK_Q4}, "numbers of blk.0.attn_q.weight are Q4_0"),
        ({"tokenizer.ggml.model": "bert"}, {}, "tokenizer is of the kind bert .* --tokenizer=PATH"),
        ({"tokenizer.ggml.scores": [0.0]}, {}, "is damaged"),
        ({"tokenizer.ggml.tokens": None}, {}, "is damaged"),
    ],
)
def test_a_file_that_holds_something_else_is_refused(
    tokenizer: Tokenizer, path: pathlib.Path, fields: dict, tensors: dict, said: str
):
    gguf.write(random_model(tokenizer), path)
    rewrite(path, dict(fields), tensors)
    with pytest.raises(UserError, match=said) as error:
        gguf.read(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_tokenizer_that_is_given_goes_before_that_of_the_file(tokenizer: Tokenizer, path: pathlib.Path):
    gguf.write(random_model(tokenizer), path)
    rewrite(path, {"tokenizer.ggml.model": "bert"}, {})
    assert gguf.read(path, tokenizer).tokenizer == tokenizer
    with pytest.raises(UserError, match="there is no file"):
        gguf.read(path.with_name("other.gguf"))
