"""Model FLOPs: what XLA counts of the same forward pass, but for what is no product of matrices."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.tiny import tiny_model
from tinyjax.config import ModelConfig
from tinyjax.model.attention import causal_mask
from tinyjax.model.decoder import hidden_states, logits
from tinyjax.model.flops import attention_flops, forward_flops, head_flops, mean_seen, training_flops
from tinyjax.model.parameters import abstract_params

# Wide, so that norms, softmax and activations, which XLA counts too, are little beside the products.
WIDE = {"d_model": 256, "d_ff": 768, "num_heads": 4, "num_kv_heads": 2, "head_dim": 64, "num_layers": 3}
FAMILIES = {"llama": {}, "gpt_neo": {"family": "gpt_neo", "num_kv_heads": 4, "window": 16}}


def wide_model(family: str, **changes: object) -> ModelConfig:
    return tiny_model(**(WIDE | FAMILIES[family] | changes), attention="reference")


def flops_by_xla(config: ModelConfig) -> float:
    """Per token, of a batch of two whole windows."""

    def forward(params: dict, tokens_BT: jax.Array) -> jax.Array:
        return logits(config, params, hidden_states(config, params, tokens_BT))

    tokens_BT = jax.ShapeDtypeStruct((2, config.context_length), np.int32)
    costs: Any = jax.jit(forward).lower(abstract_params(config), tokens_BT).compile().cost_analysis()
    return costs["flops"] / tokens_BT.size


def flops_by_parts(config: ModelConfig) -> float:
    """Ours, but with attention to all positions, which `reference` multiplies and masks afterwards."""
    everything = 4.0 * config.num_layers * config.num_heads * config.head_dim * config.context_length
    return forward_flops(config) - attention_flops(config) + everything


@pytest.mark.parametrize("family", FAMILIES)
def test_xla_counts_the_same_and_a_little_for_all_else(family: str):
    """Within 5 %, which are norms, softmax and activations."""
    config = wide_model(family)
    assert 1.0 < flops_by_xla(config) / flops_by_parts(config) < 1.05


@pytest.mark.parametrize(
    "changes", [{"num_layers": 6}, {"d_ff": 1536}, {"vocab_size": 1280}, {"context_length": 128}]
)
def test_each_size_counts_for_what_it_counts_with_xla(changes: dict):
    """What a size adds, which a share of the whole might hide: within 8 %."""
    small, large = wide_model("llama"), wide_model("llama", **changes)
    by_xla = flops_by_xla(large) - flops_by_xla(small)
    assert flops_by_parts(large) - flops_by_parts(small) == pytest.approx(by_xla, rel=0.08)


@pytest.mark.parametrize("window", [1, 7, 16, 40])
def test_a_position_is_counted_with_those_it_sees(window: int):
    index_T = jnp.arange(16)
    mask_TT = causal_mask(index_T[:, None], index_T, window)
    assert mean_seen(16, window) == int(mask_TT.sum()) / 16


def test_the_windows_of_gpt_neo_are_in_every_second_block():
    config = tiny_model(family="gpt_neo", window=16, num_layers=5)
    per_pair = 4 * config.num_heads * config.head_dim
    assert attention_flops(config) == per_pair * (3 * mean_seen(64, 64) + 2 * mean_seen(64, 16))


def test_training_is_three_forward_passes_whatever_is_recomputed():
    config = tiny_model()
    assert training_flops(config) == training_flops(tiny_model(remat="block")) == 3 * forward_flops(config)


def test_an_untied_head_costs_what_a_tied_one_does():
    assert forward_flops(tiny_model(tie_embeddings=False)) == forward_flops(tiny_model())
    assert head_flops(tiny_model()) == 2 * 320 * 32
