"""Reads exported files by their own names into the NumPy decoder, and compares its logits with our model's.

The readers share nothing with the writers but the formats.
"""

import dataclasses
import itertools
import json
import pathlib
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from tinyjax.config import ModelConfig, from_dict
from tinyjax.errors import UserError
from tinyjax.interop.model import Model
from tinyjax.interop.numpy_decoder import Weights, logits
from tinyjax.model.decoder import Decoder
from tinyjax.stories.world import tell

MOST_TOKENS = 256
# Largest difference that a right file shows, as a share of the largest logit: float32 sums in another order;
# numbers rounded to 11 bits, or to 8 bits with a scale for some, add up over the layers.
TOLERANCES = {"f32": 1e-4, "f16": 2e-2, "int8": 2e-1}


def story() -> str:
    """Returns the text that models are compared on, a story of the story world."""
    return tell(0, 0).text


def story_ids(model: Model) -> list[int]:
    """Returns the ids of the story, bos first, as many as fit the model's context."""
    ids = [model.tokenizer.bos_id, *map(int, model.tokenizer.encode(story()))]
    return ids[: min(model.config.context_length, MOST_TOKENS)]


def model_logits(model: Model, ids: Sequence[int]) -> np.ndarray:
    """Returns our float32 logits [T, V], computed by JAX on one device."""
    config = dataclasses.replace(model.config, compute_dtype="float32", attention="reference").freeze()
    apply = jax.jit(lambda params, ids_BT: Decoder(config).apply({"params": params}, ids_BT))
    return np.asarray(apply(model.params, np.array([ids], np.int32)))[0]


def compare(
    model: Model,
    weights: Weights,
    kind: str,
    inputs_V: np.ndarray | None = None,
    outputs_V: np.ndarray | None = None,
) -> float:
    """Returns the largest difference between the logits of a model and of a file of it, on a story.

    Args:
      model: what was exported.
      weights: what the file holds.
      kind: of its numbers, one of TOLERANCES.
      inputs_V: where the file has other ids, the id of ours at each place of its embedding.
      outputs_V: the same of its head.

    Raises:
      UserError: it is larger than such numbers explain.
    """
    ids = story_ids(model)
    there = ids if inputs_V is None else [int(np.flatnonzero(inputs_V == i)[0]) for i in ids]
    ours_TV, theirs_TV = model_logits(model, ids), logits(weights, there)
    ours_TV = ours_TV[:, : theirs_TV.shape[1]] if outputs_V is None else ours_TV[:, outputs_V]
    difference, largest = float(np.abs(ours_TV - theirs_TV).max()), float(np.abs(ours_TV).max())
    if not difference <= TOLERANCES[kind] * largest:
        raise UserError(
            f"what was written does not compute what the model does: logits differ by up to {difference:.3g} "
            f"on a story (the largest is {largest:.3g}); nothing was kept. Please report this with the config"
        )
    return difference


# Readers.


def read_huggingface(folder: pathlib.Path) -> Weights:
    """Reads config.json and model.safetensors."""
    import safetensors.numpy

    values = json.loads((folder / "config.json").read_text())
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    read = _gpt_neo if values["architectures"] == ["GPTNeoForCausalLM"] else _llama
    return read(values, tensors)


_GPT_NEO = {
    "attention_norm": "ln_1", "q": "attn.attention.q_proj", "k": "attn.attention.k_proj",
    "v": "attn.attention.v_proj", "o": "attn.attention.out_proj", "mlp_norm": "ln_2", "up": "mlp.c_fc",
    "down": "mlp.c_proj",
}  # fmt: skip
_LLAMA = {
    "attention_norm": "input_layernorm", "q": "self_attn.q_proj", "k": "self_attn.k_proj",
    "v": "self_attn.v_proj", "q_norm": "self_attn.q_norm", "k_norm": "self_attn.k_norm",
    "o": "self_attn.o_proj", "mlp_norm": "post_attention_layernorm", "gate": "mlp.gate_proj",
    "up": "mlp.up_proj", "down": "mlp.down_proj",
}  # fmt: skip
_GGUF = {
    "attention_norm": "attn_norm", "q": "attn_q", "k": "attn_k", "v": "attn_v", "q_norm": "attn_q_norm",
    "k_norm": "attn_k_norm", "o": "attn_output", "mlp_norm": "ffn_norm", "gate": "ffn_gate", "up": "ffn_up",
    "down": "ffn_down",
}  # fmt: skip


def _block(tensors: Mapping[str, np.ndarray], prefix: str, names: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Returns a block's tensors, biases too, by the decoder's names."""
    suffixes = {"": ".weight", "_bias": ".bias"}
    found = {f"{ours}{end}": f"{prefix}{theirs}{ending}" for ours, theirs in names.items()
             for end, ending in suffixes.items()}  # fmt: skip
    return {ours: tensors[name] for ours, name in found.items() if name in tensors}


def _gpt_neo(values: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Weights:
    kinds = itertools.chain.from_iterable(kinds * times for kinds, times in values["attention_types"])
    embedding = tensors["transformer.wte.weight"]
    return Weights(
        embedding=embedding,
        head=embedding if values["tie_word_embeddings"] else tensors["lm_head.weight"],
        blocks=[_block(tensors, f"transformer.h.{i}.", _GPT_NEO) for i in range(values["num_layers"])],
        final_norm=tensors["transformer.ln_f.weight"],
        final_norm_bias=tensors["transformer.ln_f.bias"],
        positions=tensors["transformer.wpe.weight"],
        heads=values["num_heads"],
        kv_heads=values["num_heads"],
        eps=values["layer_norm_epsilon"],
        windows=[values["window_size"] if kind == "local" else 0 for kind in kinds],
        unscaled=True,
    )


def _llama(values: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Weights:
    embedding = tensors["model.embed_tokens.weight"]
    return Weights(
        embedding=embedding,
        head=embedding if values["tie_word_embeddings"] else tensors["lm_head.weight"],
        blocks=[_block(tensors, f"model.layers.{i}.", _LLAMA) for i in range(values["num_hidden_layers"])],
        final_norm=tensors["model.norm.weight"],
        heads=values["num_attention_heads"],
        kv_heads=values["num_key_value_heads"],
        eps=values["rms_norm_eps"],
        theta=values["rope_parameters"]["rope_theta"],
    )


def read_native(path: pathlib.Path) -> Weights:
    """Reads our own safetensors."""
    import safetensors.numpy

    with safetensors.safe_open(path, "numpy") as file:
        config = from_dict(json.loads(file.metadata()["config"]), ModelConfig)
    tensors = safetensors.numpy.load_file(path)
    gpt_neo = config.family == "gpt_neo"
    return Weights(
        embedding=tensors["embedding"],
        head=tensors["embedding" if config.tie_embeddings else "head"],
        blocks=[_native_block(tensors, i) for i in range(config.num_layers)],
        final_norm=tensors["final_norm"],
        final_norm_bias=tensors.get("final_norm_bias"),
        positions=tensors.get("position_embedding"),
        heads=config.num_heads,
        kv_heads=config.num_kv_heads,
        eps=config.norm_eps,
        theta=config.rope_theta,
        windows=[config.window * (i % 2) for i in range(config.num_layers)] if gpt_neo else (),
        unscaled=gpt_neo,
    )


def _native_block(tensors: Mapping[str, np.ndarray], i: int) -> dict[str, np.ndarray]:
    names = {
        "query": "q",
        "key": "k",
        "value": "v",
        "output": "o",
        "query_norm": "q_norm",
        "key_norm": "k_norm",
    }
    names |= {"output_bias": "o_bias"}
    block = {}
    for name, stacked in tensors.items():
        if name.startswith("layers."):
            x, own = stacked[i], name.removeprefix("layers.")
            if x.ndim > 1:  # inputs first; the heads' two dimensions are one
                x = x.reshape(-1, x.shape[-1]).T if own in ("output", "down") else x.reshape(len(x), -1).T
            block[names.get(own, own)] = x
    return block


def read_gguf(path: pathlib.Path) -> Weights:
    """Reads a GGUF file of the architecture llama or qwen3."""
    import gguf

    reader = gguf.GGUFReader(path)
    kind = reader.fields["general.architecture"].contents()

    def field(name: str) -> Any:
        return reader.fields[f"{kind}.{name}"].contents()

    tensors = {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in reader.tensors}
    embedding = tensors["token_embd.weight"]
    return Weights(
        embedding=embedding,
        head=tensors.get("output.weight", embedding),
        blocks=[_block(tensors, f"blk.{i}.", _GGUF) for i in range(field("block_count"))],
        final_norm=tensors["output_norm.weight"],
        heads=field("attention.head_count"),
        kv_heads=field("attention.head_count_kv"),
        eps=field("attention.layer_norm_rms_epsilon"),
        theta=field("rope.freq_base"),
        adjacent_pairs=kind == "llama",
    )


_LLAMA2C_BLOCK = ("q", "k", "v", "o", "gate", "down", "up")  # w1, w2, w3 are the last three


def read_llama2c(path: pathlib.Path) -> Weights:
    """Reads a llama2.c file of version 0, 1 or 2."""
    data = path.read_bytes()
    if data[:4] != b"24ka":  # 0x616b3432, little-endian
        return _llama2c(data, 28, *_llama2c_version_0(data))
    version, *sizes, shared = struct.unpack_from("<i7i?", data, 4)
    group = struct.unpack_from("<i", data, 37)[0] if version == 2 else 0
    order = [
        "attention_norm",
        "mlp_norm",
        "final_norm",
        "embedding",
        *_LLAMA2C_BLOCK,
        *(() if shared else ["head"]),
    ]
    return _llama2c(data, 256, sizes, order, group)


def _llama2c_version_0(data: bytes) -> tuple[list[int], list[str], int]:
    sizes = list(struct.unpack_from("<7i", data))
    shared = sizes[5] > 0
    sizes[5] = abs(sizes[5])
    order = [
        "embedding",
        "attention_norm",
        *_LLAMA2C_BLOCK[:4],
        "mlp_norm",
        *_LLAMA2C_BLOCK[4:],
        "final_norm",
    ]
    return sizes, [*order, "cosine", "sine", *(() if shared else ["head"])], 0


def _llama2c(data: bytes, at: int, sizes: Sequence[int], order: Sequence[str], group: int) -> Weights:
    """Reads the arrays one after the other."""
    width, hidden, layers, heads, kv_heads, vocabulary, context = sizes
    narrow = width * kv_heads // heads
    shapes = {
        "embedding": (1, vocabulary, width), "head": (1, vocabulary, width), "final_norm": (1, width),
        "attention_norm": (layers, width), "mlp_norm": (layers, width), "q": (layers, width, width),
        "k": (layers, narrow, width), "v": (layers, narrow, width), "o": (layers, width, width),
        "gate": (layers, hidden, width), "up": (layers, hidden, width), "down": (layers, width, hidden),
        "cosine": (context, width // heads // 2), "sine": (context, width // heads // 2),
    }  # fmt: skip
    arrays = {}
    for name in order:
        size = group if len(shapes[name]) == 3 else 0
        arrays[name], at = _llama2c_array(data, at, shapes[name], size)
    if at != len(data):
        raise UserError(f"a llama2.c file of {len(data)} bytes should have {at}")
    (embedding,), (final_norm,) = arrays["embedding"], arrays["final_norm"]
    names = ("attention_norm", "mlp_norm", *_LLAMA2C_BLOCK)
    return Weights(
        embedding=embedding,
        head=arrays["head"][0] if "head" in arrays else embedding,
        blocks=[{name: arrays[name][i] for name in names} for i in range(layers)],
        final_norm=final_norm,
        heads=heads,
        kv_heads=kv_heads,
        eps=1e-5,
        adjacent_pairs=True,
    )


def _llama2c_array(data: bytes, at: int, shape: tuple[int, ...], group: int) -> tuple[np.ndarray, int]:
    """Returns an array and where the next begins; in groups, each matrix's int8 come before their scales."""
    if not group:
        count = int(np.prod(shape))
        return np.frombuffer(data, "<f4", count, at).reshape(shape), at + 4 * count
    parts, count = [], int(np.prod(shape[1:]))
    for _ in range(shape[0]):
        numbers = np.frombuffer(data, np.int8, count, at).reshape(-1, group).astype(np.float64)
        scales = np.frombuffer(data, "<f4", count // group, at + count)
        parts.append((numbers * scales[:, None]).reshape(shape[1:]))
        at += count + 4 * count // group
    return np.stack(parts), at
