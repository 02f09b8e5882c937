"""Writes tests/interop/golden/*.npz with the real `transformers`.

.venv-parity/bin/python -m tests.parity.make_golden
"""

import json

import numpy as np
import torch
from transformers import AutoModelForCausalLM, GPTNeoConfig, LlamaConfig, PretrainedConfig, Qwen3Config

from tests.interop.golden import FOLDER, digest, draw
from tests.parity.torch_model import gradients

VOCAB = 48
_NEO = {"vocab_size": VOCAB, "max_position_embeddings": 32, "hidden_size": 32, "num_heads": 4}
_GROUPED = {
    "vocab_size": VOCAB, "max_position_embeddings": 32, "hidden_size": 32, "intermediate_size": 40,
    "num_attention_heads": 4, "num_hidden_layers": 2,
}  # fmt: skip
CONFIGS: dict[str, PretrainedConfig] = {
    "gpt_neo_1_layer_16_heads": GPTNeoConfig(
        **_NEO | {"hidden_size": 64, "num_heads": 16}, num_layers=1, attention_types=[[["global"], 1]]
    ),
    "gpt_neo_2_layers": GPTNeoConfig(
        **_NEO, num_layers=2, attention_types=[[["global", "local"], 1]], window_size=5
    ),
    "gpt_neo_4_layers": GPTNeoConfig(
        **_NEO, num_layers=4, attention_types=[[["global", "local"], 2]], window_size=7, intermediate_size=48
    ),
    "llama": LlamaConfig(**_GROUPED, num_key_value_heads=2, tie_word_embeddings=True, rms_norm_eps=1e-5),
    "llama_untied": LlamaConfig(
        **_GROUPED, num_key_value_heads=1, head_dim=12,
        rope_parameters={"rope_type": "default", "rope_theta": 500.0},
    ),
    "qwen3": Qwen3Config(
        **_GROUPED, num_key_value_heads=2, head_dim=12, tie_word_embeddings=True, bos_token_id=1,
        eos_token_id=2,
    ),
}  # fmt: skip


def main() -> None:
    ids_BT = np.random.default_rng(7).integers(3, VOCAB, (2, 24))
    for name, config in CONFIGS.items():
        config._attn_implementation = "eager"
        model = AutoModelForCausalLM.from_config(config).float()
        parameters = dict(model.named_parameters())  # a head tied to the embedding isn't among them
        weights = draw({key: tuple(p.shape) for key, p in parameters.items()})
        with torch.no_grad():
            for key, parameter in parameters.items():
                parameter.copy_(torch.from_numpy(weights[key]))
        logits, found = gradients(model, ids_BT)
        np.savez_compressed(
            FOLDER / f"{name}.npz",
            config=json.dumps(config.to_dict() | {"architectures": [type(model).__name__]}),
            shapes=json.dumps({key: x.shape for key, x in weights.items()}),
            ids=ids_BT.astype(np.int32),
            logits=logits,
            gradients=digest(found),
        )


if __name__ == "__main__":
    main()
