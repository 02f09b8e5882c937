"""Parts of a logit sum up to it, each is what the part wrote, and readings end with the model's own."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.interpret.hand_built import hand_built, random_stories
from tests.tiny import packed_rows, tiny_model
from tinyjax.interpret import Scale, look
from tinyjax.interpret.attribution import (
    attribute,
    check_by_removal,
    correlation,
    lens,
    lens_losses,
    strongest,
)
from tinyjax.model.decoder import Decoder, norm
from tinyjax.sample.model import Model

pytestmark = pytest.mark.unoptimized

FAMILIES = {
    "llama": {"num_kv_heads": 2, "tie_embeddings": False},
    "llama_tied": {"num_kv_heads": 1, "qk_norm": True},
    "gpt_neo": {"family": "gpt_neo", "window": 8},
}
families = pytest.mark.parametrize("family", FAMILIES)
BATCH = packed_rows(3, 24)
TOKENS, SEGMENTS, TARGETS = BATCH["inputs"], BATCH["segments"], BATCH["targets"]


@functools.cache
def model_of(family: str) -> Model:
    """Returns a random model in which nothing is 0 or 1: neither biases nor norms."""
    config = tiny_model(compute_dtype="float32", **FAMILIES[family])
    params = jax.jit(Decoder(config).init)(jax.random.key(0), np.zeros((1, 2), np.int32))["params"]
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [leaf + 0.1 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    tokenizer: Any = None
    return Model(config, tree.unflatten(moved), tokenizer, 0, False)


@families
def test_all_parts_sum_up_to_the_logit(family: str):
    model = model_of(family)
    found = attribute(model, TOKENS, TARGETS, SEGMENTS)
    logits_BTV = np.asarray(look(model, TOKENS, SEGMENTS).logits)
    expected_BT = np.take_along_axis(logits_BTV, TARGETS[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(found.logit_BT, expected_BT, atol=1e-5)
    np.testing.assert_allclose(found.total_BT(), expected_BT, atol=1e-4)
    for part in (found.embedding_BT, found.heads_LBTH, found.neurons_LBTF):
        assert np.abs(part).max() > 1e-2
    has_biases = family == "gpt_neo"
    for part in (found.attention_bias_LBT, found.mlp_bias_LBT, found.norm_bias_BT):
        assert np.any(part) == has_biases


@families
def test_a_part_is_what_it_wrote_under_the_norm_as_it_was(family: str):
    model = model_of(family)
    config, params = model.config, model.params
    found = attribute(model, TOKENS, TARGETS, SEGMENTS)
    seen = look(model, TOKENS, SEGMENTS, capture="*")
    x_BTD = seen["block1/middle"] + seen["block1/mlp"]
    head_BTD = seen["block0/heads"][:, :, 2] @ params["layers"]["output"][0, 2]
    neuron_BTD = seen["block1/neurons"][..., 5:6] * params["layers"]["down"][1, 5]
    head_VD = params["embedding" if config.tie_embeddings else "head"]

    def of_target(normalised_BTD: jax.Array) -> jax.Array:
        return jnp.einsum("btd,btd->bt", normalised_BTD, head_VD[TARGETS])

    def under_the_norm(write_BTD: jax.Array) -> jax.Array:
        """Returns a write as the final norm passes it on: centred by LayerNorm, divided as the stream was."""
        centre = config.family == "gpt_neo"
        centred_BTD = x_BTD - x_BTD.mean(-1, keepdims=True) * centre
        size_BT1 = jnp.sqrt(jnp.square(centred_BTD).mean(-1, keepdims=True) + config.norm_eps)
        own_BTD = write_BTD - write_BTD.mean(-1, keepdims=True) * centre
        return own_BTD / size_BT1 * params["final_norm"]

    np.testing.assert_allclose(
        of_target(norm(config, params, "final_norm", x_BTD)), found.logit_BT, atol=1e-4
    )
    head_BT, neuron_BT = of_target(under_the_norm(head_BTD)), of_target(under_the_norm(neuron_BTD))
    np.testing.assert_allclose(found.heads_LBTH[0, :, :, 2], head_BT, atol=1e-4)
    np.testing.assert_allclose(found.neurons_LBTF[1, :, :, 5], neuron_BT, atol=1e-4)


def test_the_strongest_parts_are_named_with_their_sign():
    found = attribute(model_of("llama"), TOKENS, TARGETS, SEGMENTS)
    parts = strongest(found, 1, 4, count=7)
    effects = np.concatenate([np.ravel(found.heads_LBTH[:, 1, 4]), np.ravel(found.neurons_LBTF[:, 1, 4])])
    expected = effects[np.argsort(-np.abs(effects))][:7]
    np.testing.assert_allclose([part.effect for part in parts], expected, rtol=1e-6)
    for part in parts:
        source = found.heads_LBTH if part.kind == "head" else found.neurons_LBTF
        assert part.effect == source[part.layer, 1, 4, part.number]


@families
def test_readings_go_from_the_embedding_to_the_models_own_predictions(family: str):
    model = model_of(family)
    found = lens(model, TOKENS, TARGETS, SEGMENTS, count=3)
    p_BTV = np.asarray(jax.nn.softmax(look(model, TOKENS, SEGMENTS).logits))
    assert found.right_RBT.shape == (model.config.num_layers + 1, *TOKENS.shape)
    np.testing.assert_array_equal(found.tokens_RBTN[-1, ..., 0], p_BTV.argmax(-1))
    np.testing.assert_allclose(found.probabilities_RBTN[-1, ..., 0], p_BTV.max(-1), rtol=1e-4)
    right_BT = np.take_along_axis(p_BTV, TARGETS[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(found.right_RBT[-1], right_BT, rtol=1e-4)
    # Without blocks, the second reading is the first.
    nothing = {"*/heads": Scale(0.0), "*/neurons": Scale(0.0)}
    if family != "gpt_neo":
        first_BTV = np.asarray(jax.nn.softmax(look(model, TOKENS, SEGMENTS, edits=nothing).logits))
        np.testing.assert_allclose(found.probabilities_RBTN[0, ..., 0], first_BTV.max(-1), rtol=1e-4)


def test_losses_of_readings_end_with_the_models_loss():
    model, stories = model_of("llama"), random_stories(5, 24, vocab_size=20)
    losses = lens_losses(model, stories, batch=2)
    found = lens(model, stories.tokens_NT, stories.targets_NT, stories.segments_NT)
    expected = -np.log(np.asarray(found.right_RBT, np.float64))[:, stories.segments_NT > 0].mean(axis=1)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


def test_direct_effects_are_nearly_what_removal_does_where_nothing_comes_after():
    """Without MLPs, only the final norm's scale stands between the last block's heads and the logits."""
    model = model_of("llama")
    layers = {**model.params["layers"], "down": jnp.zeros_like(model.params["layers"]["down"])}
    without_mlps = Model(model.config, {**model.params, "layers": layers}, model.tokenizer, 0, False)
    first, last = check_by_removal(without_mlps, random_stories(5, 24, vocab_size=20), batch=2)
    assert last.correlation > 0.95
    assert last.correlation > first.correlation
    assert last.removal == pytest.approx(last.direct, rel=0.3)
    assert last.count == 4 * random_stories(5, 24, vocab_size=20).num_tokens


def test_direct_effects_of_the_last_blocks_neurons_are_nearly_what_their_removal_does():
    model = model_of("gpt_neo")
    direct_BTF = np.asarray(attribute(model, TOKENS, TARGETS, SEGMENTS).neurons_LBTF[1])
    factor_NF = 1 - np.eye(model.config.d_ff, dtype=np.float32)[:6]
    logits_BTV, *without = (
        look(model, TOKENS, SEGMENTS, edits={"block1/neurons": Scale(factor_F)}).logits
        for factor_F in (np.ones_like(factor_NF[0]), *factor_NF)
    )
    changes = [
        np.take_along_axis(np.asarray(logits_BTV - one), TARGETS[..., None], -1)[..., 0] for one in without
    ]
    assert correlation(np.ravel(changes), np.ravel(np.moveaxis(direct_BTF[..., :6], -1, 0))) > 0.95


def test_heads_that_write_nothing_have_no_effect_in_either_way():
    _, second = check_by_removal(hand_built(), random_stories(4, 33, vocab_size=16))
    assert second.direct == second.removal == second.correlation == 0


def test_correlation_is_pearsons():
    a, b = np.random.default_rng(0).normal(size=(2, 50))
    assert correlation(a, a + b) == pytest.approx(np.corrcoef(a, a + b)[0, 1])
    assert correlation(a, np.ones(50)) == 0
