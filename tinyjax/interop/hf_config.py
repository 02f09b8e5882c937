"""The settings of Hugging Face's config.json, from and to ours, for the three architectures known here.

Their meaning, and the values that hold where the file says nothing, are those of the classes GPTNeoConfig,
LlamaConfig and Qwen3Config of the package `transformers`.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from absl import logging

from tinyjax.config import ModelConfig
from tinyjax.errors import UserError, nearest

Values = Mapping[str, Any]


def _llama_settings(values: Values) -> ModelConfig:
    """Reads LlamaConfig."""
    _expect(values, "hidden_act", "silu")
    for name in ("attention_bias", "mlp_bias"):
        _expect(values, name, False)
    return _grouped_settings(values)


def _qwen3_settings(values: Values) -> ModelConfig:
    """Reads Qwen3Config."""
    for name in ("attention_bias", "use_sliding_window"):
        _expect(values, name, False)
    _expect(values, "hidden_act", "silu")
    return _grouped_settings({"head_dim": 128} | dict(values), qk_norm=True)


def _grouped_settings(values: Values, qk_norm: bool = False) -> ModelConfig:
    heads, d_model = _required(values, "num_attention_heads"), _required(values, "hidden_size")
    return ModelConfig(
        family="llama",
        vocab_size=_required(values, "vocab_size"),
        d_model=d_model,
        num_layers=_required(values, "num_hidden_layers"),
        num_heads=heads,
        num_kv_heads=values.get("num_key_value_heads") or heads,
        head_dim=values.get("head_dim") or d_model // heads,
        d_ff=_required(values, "intermediate_size"),
        context_length=_required(values, "max_position_embeddings"),
        rope_theta=_rope_theta(values),
        norm_eps=float(values.get("rms_norm_eps", 1e-6)),
        qk_norm=qk_norm,
        tie_embeddings=values.get("tie_word_embeddings", False),
    )


def _rope_theta(values: Values) -> float:
    """Returns the base of the rotary frequencies, which older files have at the top."""
    rope = values.get("rope_parameters") or values.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind != "default":
        raise UserError(f"rope_type is '{kind}'; known here is 'default', frequencies as they are")
    return float(rope.get("rope_theta", values.get("rope_theta", 10000.0)))


def _gpt_neo_settings(values: Values) -> ModelConfig:
    """Reads GPTNeoConfig."""
    _expect(values, "activation_function", "gelu_new")
    heads, d_model = _required(values, "num_heads"), _required(values, "hidden_size")
    num_layers, context = _required(values, "num_layers"), _required(values, "max_position_embeddings")
    return ModelConfig(
        family="gpt_neo",
        vocab_size=_required(values, "vocab_size"),
        d_model=d_model,
        num_layers=num_layers,
        num_heads=heads,
        num_kv_heads=heads,
        head_dim=d_model // heads,
        d_ff=values.get("intermediate_size") or 4 * d_model,
        context_length=context,
        norm_eps=float(values.get("layer_norm_epsilon", 1e-5)),
        window=_window(_attention_layers(values), num_layers, values.get("window_size", 256), context),
        tie_embeddings=values.get("tie_word_embeddings", True),
    )


def _attention_layers(values: Values) -> list[str]:
    """Returns which blocks are "global" and which "local", first to last."""
    groups: Any = values.get("attention_types") or [[["global", "local"], 12]]
    expanded = itertools.chain.from_iterable(list(kinds) * times for kinds, times in groups)
    return list(values.get("attention_layers") or expanded)


def _window(kinds: list[str], num_layers: int, window: int, context: int) -> int:
    """Returns the window of every second block: as wide as the context where all blocks see everything."""
    if len(kinds) != num_layers:
        raise UserError(f"attention_types name {len(kinds)} blocks, but num_layers is {num_layers}")
    if kinds == [("global", "local")[i % 2] for i in range(num_layers)]:
        return window
    if window >= context or set(kinds) == {"global"}:
        return context
    raise UserError(
        f"attention_types are {', '.join(kinds)}; known here are blocks global and local by turns"
    )


def _gpt_neo_values(config: ModelConfig) -> dict[str, Any]:
    """Writes GPTNeoConfig."""
    if config.head_dim * config.num_heads != config.d_model:
        raise _cannot_hold("GPTNeoForCausalLM", "heads that together are as wide as d_model", config)
    pairs, odd = divmod(config.num_layers, 2)
    kinds = [[["global", "local"], pairs], [["global"], odd]]
    return {
        "hidden_size": config.d_model,
        "num_layers": config.num_layers,
        "num_heads": config.num_heads,
        "intermediate_size": config.d_ff,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": config.norm_eps,
        "attention_types": [group for group in kinds if group[1]],
        "window_size": config.window,
        "resid_dropout": 0.0,
        "embed_dropout": 0.0,
        "attention_dropout": 0.0,
    }


def _grouped_values(config: ModelConfig) -> dict[str, Any]:
    """Writes LlamaConfig or Qwen3Config, which share these names."""
    if not config.qk_norm and config.d_model % config.num_heads:
        raise _cannot_hold("LlamaForCausalLM", "a d_model that is a multiple of num_heads", config)
    return {
        "hidden_size": config.d_model,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.d_ff,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,  # for versions of the library before 5
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "attention_bias": False,
        "attention_dropout": 0.0,
    }


def _cannot_hold(architecture: str, what: str, config: ModelConfig) -> UserError:
    return UserError(
        f"{architecture} has {what}, and here d_model is {config.d_model}, num_heads {config.num_heads}, "
        f"head_dim {config.head_dim}; export with --format=safetensors"
    )


@dataclass(frozen=True)
class Architecture:
    """A class of `transformers`: its settings, and the names of its tensors by those of our parameters."""

    name: str
    model_type: str
    read: Callable[[Values], ModelConfig]
    write: Callable[[ModelConfig], dict[str, Any]]
    top: Mapping[str, str]
    blocks: str  # what the names of a block's tensors begin with; {} is its number
    block: Mapping[str, str]
    buffers: str  # regex: tensors that older files hold beside the parameters


_LLAMA_BLOCK = {
    "attention_norm": "input_layernorm.weight",
    "query": "self_attn.q_proj.weight",
    "key": "self_attn.k_proj.weight",
    "value": "self_attn.v_proj.weight",
    "output": "self_attn.o_proj.weight",
    "mlp_norm": "post_attention_layernorm.weight",
    "gate": "mlp.gate_proj.weight",
    "up": "mlp.up_proj.weight",
    "down": "mlp.down_proj.weight",
}
_LLAMA_TOP = {
    "embedding": "model.embed_tokens.weight",
    "final_norm": "model.norm.weight",
    "head": "lm_head.weight",
}

GPT_NEO = Architecture(
    name="GPTNeoForCausalLM",
    model_type="gpt_neo",
    read=_gpt_neo_settings,
    write=_gpt_neo_values,
    top={
        "embedding": "transformer.wte.weight",
        "position_embedding": "transformer.wpe.weight",
        "final_norm": "transformer.ln_f.weight",
        "final_norm_bias": "transformer.ln_f.bias",
        "head": "lm_head.weight",
    },
    blocks="transformer.h.{}.",
    block={
        "attention_norm": "ln_1.weight",
        "attention_norm_bias": "ln_1.bias",
        "query": "attn.attention.q_proj.weight",
        "key": "attn.attention.k_proj.weight",
        "value": "attn.attention.v_proj.weight",
        "output": "attn.attention.out_proj.weight",
        "output_bias": "attn.attention.out_proj.bias",
        "mlp_norm": "ln_2.weight",
        "mlp_norm_bias": "ln_2.bias",
        "up": "mlp.c_fc.weight",
        "up_bias": "mlp.c_fc.bias",
        "down": "mlp.c_proj.weight",
        "down_bias": "mlp.c_proj.bias",
    },
    buffers=r"transformer\.h\.\d+\.attn\.attention\.(bias|masked_bias)",
)
LLAMA = Architecture(
    name="LlamaForCausalLM",
    model_type="llama",
    read=_llama_settings,
    write=_grouped_values,
    top=_LLAMA_TOP,
    blocks="model.layers.{}.",
    block=_LLAMA_BLOCK,
    buffers=r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq",
)
QWEN3 = Architecture(
    name="Qwen3ForCausalLM",
    model_type="qwen3",
    read=_qwen3_settings,
    write=_grouped_values,
    top=_LLAMA_TOP,
    blocks="model.layers.{}.",
    block=_LLAMA_BLOCK | {"query_norm": "self_attn.q_norm.weight", "key_norm": "self_attn.k_norm.weight"},
    buffers=r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq",
)
ARCHITECTURES = {architecture.name: architecture for architecture in (GPT_NEO, LLAMA, QWEN3)}


def architecture_for(config: ModelConfig) -> Architecture:
    """Returns the architecture that computes what our model does."""
    if config.family == "gpt_neo":
        return GPT_NEO
    return QWEN3 if config.qk_norm else LLAMA


def read_config(values: Values, source: str) -> tuple[Architecture, ModelConfig]:
    """Reads the contents of a config.json.

    Raises:
      UserError: its architecture, or a setting that changes what the model computes, is not known here.
    """
    names = values.get("architectures") or [values.get("model_type", "none")]
    known = ARCHITECTURES | {a.model_type: a for a in ARCHITECTURES.values()}
    architecture = known.get(names[0]) if len(names) == 1 else None
    if architecture is None:
        raise UserError(
            f"'{source}': the architecture is {', '.join(map(str, names))}"
            f"{nearest(str(names[0]), ARCHITECTURES)}; known here are {', '.join(ARCHITECTURES)}"
        )
    try:
        config = architecture.read(values)
    except UserError as error:
        raise UserError(f"'{source}': {error}; it can't be computed here") from None
    if dropped := sorted(k for k, v in values.items() if k.endswith("_dropout") and v and "class" not in k):
        logging.warning("'%s': %s is for training and left out", source, ", ".join(dropped))
    return architecture, config


def write_config(config: ModelConfig) -> dict[str, Any]:
    """Returns the contents of the config.json of our model, but for the tokenizer's ids."""
    architecture = architecture_for(config)
    return {
        "architectures": [architecture.name],
        "model_type": architecture.model_type,
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context_length,
        "tie_word_embeddings": config.tie_embeddings,
        **architecture.write(config),
        "dtype": "float32",
    }


def _required(values: Values, name: str) -> Any:
    if not isinstance(values.get(name), int):
        raise UserError(f"config.json has no number '{name}'")
    return values[name]


def _expect(values: Values, name: str, value: Any) -> None:
    if values.get(name, value) != value:
        raise UserError(f"{name} is {values[name]!r}; known here is {value!r}")
