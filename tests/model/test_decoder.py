"""The decoder: stories don't see their neighbours or the future, and the cache changes nothing."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from tests.tiny import VOCAB_SIZE, packed_rows, tiny_model
from tinyjax.config import ModelConfig
from tinyjax.model.decoder import Decoder, dropout, hidden_states, logits, segment_positions
from tinyjax.model.loss import mean_loss, token_nll
from tinyjax.model.parameters import abstract_params

pytestmark = pytest.mark.unoptimized

LENGTH = 48  # less than a block of attention, and no power of two


@functools.cache
def make_params(config: ModelConfig) -> dict:
    """Parameters with norms that are not 1 and biases that are not 0, so that a forgotten one is seen."""
    params = jax.jit(Decoder(config).init)(jax.random.key(0), np.zeros((1, 2), np.int32))["params"]

    def change(p: jax.Array) -> np.ndarray:
        ramp = np.linspace(0.5, 1.5, p.shape[-1], dtype=np.float32)
        return np.asarray(p) * ramp if np.any(p) else np.asarray(p) + 0.1 * ramp

    return jax.tree.map(change, params)


FAMILIES = {"llama": {}, "gpt_neo": {"family": "gpt_neo", "window": 8}}
families = pytest.mark.parametrize("family", FAMILIES)


@functools.partial(jax.jit, static_argnums=0)
def forward(config: ModelConfig, params: dict, tokens_BT, segments_BT=None):
    return Decoder(config).apply({"params": params}, tokens_BT, segments_BT)


def logits_of(config: ModelConfig, params: dict, tokens_BT, segments_BT=None) -> np.ndarray:
    return np.asarray(forward(config, params, tokens_BT, segments_BT))


def packed(lengths: list[int]) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Returns random stories, and the row of tokens and of segments that holds them side by side."""
    rng = np.random.default_rng(0)
    stories = [rng.integers(4, VOCAB_SIZE, n) for n in lengths]
    tokens, segments = np.zeros((1, LENGTH), np.int32), np.zeros((1, LENGTH), np.int32)
    tokens[0, : sum(lengths)] = np.concatenate(stories)
    segments[0, : sum(lengths)] = np.repeat(np.arange(1, len(lengths) + 1), lengths)
    return stories, tokens, segments


@families
@pytest.mark.parametrize("attention", ["reference", "blockwise"])
def test_neighbours_do_not_leak(attention: str, family: str):
    """A story packed beside others gets the logits and the loss that it gets alone."""
    config = tiny_model(attention=attention, **FAMILIES[family])
    params = make_params(config)
    stories, tokens, segments = packed([10, 17, 9])
    together = logits_of(config, params, tokens, segments)[0]
    targets = np.roll(tokens, -1)
    batch = {"inputs": tokens, "targets": targets, "segments": segments, "weights": segments > 0}
    nll = jax.jit(token_nll, static_argnums=0)(config, params, batch)[0]
    start = 0
    for story in stories:
        here = slice(start, start + len(story))
        alone = np.zeros((1, LENGTH), np.int32)
        alone[0, : len(story)] = story
        wanted = logits_of(config, params, alone, (alone > 0).astype(np.int32))[0, : len(story)]
        np.testing.assert_allclose(together[here], wanted, rtol=1e-4, atol=1e-5)
        log_p = scipy.special.log_softmax(wanted, axis=-1)[np.arange(len(story)), targets[0, here]]
        np.testing.assert_allclose(nll[here], -log_p, rtol=1e-4, atol=1e-5)
        start = here.stop
    np.testing.assert_array_equal(nll[start:], 0)  # padding


@families
@pytest.mark.parametrize("attention", ["reference", "blockwise"])
def test_a_later_token_changes_nothing_before_it(attention: str, family: str):
    config = tiny_model(attention=attention, **FAMILIES[family])
    params = make_params(config)
    tokens = packed_rows(1, LENGTH)["inputs"]
    changed = tokens.copy()
    changed[0, 30] = (tokens[0, 30] + 1) % VOCAB_SIZE
    before, after = logits_of(config, params, tokens)[0], logits_of(config, params, changed)[0]
    np.testing.assert_array_equal(before[:30], after[:30])
    assert np.abs(before[30:] - after[30:]).max(axis=-1).min() > 1e-4


def test_positions_start_again_with_each_story():
    segments = jnp.array([[1, 1, 1, 2, 2, 3, 0, 0]])
    assert segment_positions(segments).tolist() == [[0, 1, 2, 0, 1, 0, 0, 1]]


def test_the_loss_starts_near_that_of_a_uniform_guess():
    config = tiny_model()
    params = jax.jit(Decoder(config).init)(jax.random.key(0), np.zeros((1, 2), np.int32))["params"]
    batch = packed_rows(8, LENGTH)
    loss, tokens = jax.jit(mean_loss, static_argnums=1)(params, config, batch)
    assert int(tokens) == batch["weights"].sum()
    # Logits of unit variance add half a nat to log(V).
    assert np.log(VOCAB_SIZE) - 0.1 < float(loss) < np.log(VOCAB_SIZE) + 0.7


def test_an_untied_head_is_used():
    config = tiny_model(tie_embeddings=False)
    params = make_params(config)
    tokens = packed_rows(1, LENGTH)["inputs"]
    doubled = params | {"head": 2 * params["head"]}
    np.testing.assert_allclose(
        logits_of(config, doubled, tokens), 2 * logits_of(config, params, tokens), rtol=1e-5, atol=1e-5
    )


def test_qk_norm_makes_the_size_of_queries_and_keys_irrelevant():
    config = tiny_model(qk_norm=True, norm_eps=0.0)
    params = make_params(config)
    layers = params["layers"]
    larger = params | {"layers": layers | {"query": 3 * layers["query"], "key": 5 * layers["key"]}}
    tokens = packed_rows(1, LENGTH)["inputs"]
    same = logits_of(config, params, tokens)
    np.testing.assert_allclose(logits_of(config, larger, tokens), same, rtol=1e-4, atol=1e-5)


REMAT = ["block", "attention", "dots"]


def sum_of_squares(config: ModelConfig, params: dict, batch: dict, dropout_key=None) -> jax.Array:
    """Returns a scalar that every parameter has a part in."""
    hidden_BTD = hidden_states(config, params, batch["inputs"], batch["segments"], dropout_key=dropout_key)
    return jnp.square(logits(config, params, hidden_BTD)).mean()


value_and_gradient = jax.jit(jax.value_and_grad(sum_of_squares, 1), static_argnums=0)


@pytest.mark.slow
@families
@pytest.mark.parametrize("attention", ["reference", "blockwise"])
def test_remat_changes_neither_loss_nor_gradients(family: str, attention: str):
    config = tiny_model(attention=attention, dropout=0.2, **FAMILIES[family])
    batch, params, key = packed_rows(2, LENGTH), make_params(config), jax.random.key(1)
    loss, wanted = value_and_gradient(config, params, batch, key)
    for remat in REMAT:
        config = dataclasses.replace(config, remat=remat).freeze()
        loss_remat, got = value_and_gradient(config, params, batch, key)
        assert float(loss) == pytest.approx(float(loss_remat), rel=1e-6), remat
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), got, wanted)


@families
def test_remat_saves_less_and_less(family: str):
    """From all of it to the inputs of each block; blockwise attention is not run again but where asked to."""
    batch = packed_rows(2, LENGTH)

    def saved(remat: str) -> int:
        config = tiny_model(attention="blockwise", remat=remat, num_layers=4, **FAMILIES[family])
        residuals = jax.eval_shape(
            lambda params: jax.vjp(lambda p: sum_of_squares(config, p, batch), params)[1],
            abstract_params(config),
        )
        return sum(leaf.size for leaf in jax.tree.leaves(residuals))

    sizes = [saved(remat) for remat in ("none", "dots", "attention", "block")]
    assert sizes == sorted(set(sizes), reverse=True)


@pytest.mark.slow
def test_dropout_goes_by_its_key():
    batch, config = packed_rows(2, LENGTH), tiny_model(dropout=0.5)
    run = jax.jit(hidden_states, static_argnums=0)
    inputs = (config, make_params(config), batch["inputs"], batch["segments"])
    without = run(*inputs)
    np.testing.assert_array_equal(without, run(tiny_model(), *inputs[1:]))
    first, again, other = (run(*inputs, dropout_key=jax.random.key(k)) for k in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert min(np.abs(first - other).mean(), np.abs(first - without).mean()) > 0.1


def test_without_a_key_or_a_share_nothing_is_dropped():
    ones = jnp.ones((10, 10))
    assert dropout(tiny_model(dropout=0.5), ones, None) is ones
    assert dropout(tiny_model(), ones, jax.random.key(0)) is ones


def test_dropout_keeps_the_mean_and_drops_its_share():
    dropped = dropout(tiny_model(dropout=0.25), jnp.ones((100, 100)), jax.random.key(0))
    assert float((dropped == 0).mean()) == pytest.approx(0.25, abs=0.02)
    np.testing.assert_allclose(np.unique(dropped), [0, 1 / 0.75], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"qk_norm": True, "tie_embeddings": False}, FAMILIES["gpt_neo"]])
def test_gradients_are_those_of_finite_differences(changes: dict):
    """Along a random direction, in every parameter at once: the hand-written matmul's and attention's too."""
    config, batch = tiny_model(**changes), packed_rows(2, LENGTH)
    params = make_params(config)
    rng = np.random.default_rng(3)
    direction = jax.tree.map(lambda p: np.float32(p.std() * rng.normal(size=p.shape)), params)
    gradient = jax.jit(jax.value_and_grad(mean_loss, has_aux=True), static_argnums=1)
    slope = sum(jax.tree.leaves(jax.tree.map(np.vdot, gradient(params, config, batch)[1], direction)))
    step = 3e-3
    ahead, behind = (
        gradient(jax.tree.map(lambda p, d, s=s: p + np.float32(s) * d, params, direction), config, batch)[0][
            0
        ]
        for s in (step, -step)
    )
    assert (ahead - behind) / (2 * step) == pytest.approx(slope, rel=0.01)
