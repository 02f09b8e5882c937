"""Reading token by token with a cache is the full forward, whatever the rows' lengths and when they came."""

import jax
import numpy as np
import pytest

from tests.tiny import packed_rows, tiny_model
from tinyjax.config import ModelConfig
from tinyjax.errors import UserError
from tinyjax.model.cached import Cache, empty_cache, insert, read_prompts, resize, step, unstack
from tinyjax.model.decoder import Decoder, hidden_states

pytestmark = pytest.mark.unoptimized

CONFIGS = {
    "llama": {},
    "grouped heads, QK-norm": {"num_heads": 4, "num_kv_heads": 2, "qk_norm": True},
    "gpt_neo": {"family": "gpt_neo", "window": 10, "num_layers": 3},
}
BFLOAT16 = {  # wide heads, whose keys and values a CPU keeps in float32, and narrow ones
    f"bfloat16, heads {width} wide": {"compute_dtype": "bfloat16", "head_dim": width} for width in (8, 32)
}
LENGTH = 64

_full = jax.jit(hidden_states, static_argnums=0)
_read = jax.jit(read_prompts, static_argnums=0)
_step = jax.jit(step, static_argnums=0)
_insert = jax.jit(insert)
_resize = jax.jit(resize, static_argnums=(0, 4))


def make_params(config: ModelConfig) -> dict:
    params = jax.jit(Decoder(config).init)(jax.random.key(0), np.zeros((1, 2), np.int32))["params"]
    rng = np.random.default_rng(1)  # biases and norms too, which start at 0 and 1
    return jax.tree.map(lambda p: p + np.float32(0.02) * rng.normal(size=p.shape).astype(np.float32), params)


def read(config: ModelConfig, params: dict, cache: Cache, rows: dict[int, np.ndarray]) -> Cache:
    """Puts prompts of unequal lengths into rows of the cache."""
    lengths = np.array([len(prompt) for prompt in rows.values()], np.int32)
    prompts = np.zeros((len(rows), 32), np.int32)
    for target, prompt in zip(prompts, rows.values(), strict=True):
        target[: len(prompt)] = prompt
    source = np.full(cache.length_B.shape, -1, np.int32)
    source[list(rows)] = np.arange(len(rows))
    return _insert(cache, _read(config, params, prompts)[1], source, lengths)


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_reading_token_by_token_is_the_full_forward(name: str):
    """Row 1 comes at the start, row 0 after nine steps, past the window; row 2 is never used."""
    config = tiny_model(context_length=LENGTH, **CONFIGS[name])
    params, tokens = make_params(config), packed_rows(2, LENGTH)["inputs"]
    wanted, unstacked = _full(config, params, tokens), unstack(params)
    cache = read(config, unstacked, empty_cache(config, 3, 48), {1: tokens[1, :17]})
    for at in range(17, 48):
        if at == 26:
            cache = read(config, unstacked, cache, {0: tokens[0, :5]})
        behind = at - 26 + 5  # where row 0 is
        next_tokens = np.array([tokens[0, max(behind, 0)], tokens[1, at], 0], np.int32)
        hidden, cache = _step(config, unstacked, next_tokens, cache)
        np.testing.assert_allclose(hidden[1], wanted[1, at], rtol=1e-4, atol=2e-5)
        if at >= 26:
            np.testing.assert_allclose(hidden[0], wanted[0, behind], rtol=1e-4, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama", "gpt_neo"])
def test_a_cache_that_grows_and_shrinks_keeps_what_was_read(name: str):
    config = tiny_model(context_length=LENGTH, **CONFIGS[name])
    params, tokens = make_params(config), packed_rows(2, LENGTH)["inputs"]
    wanted, unstacked = _full(config, params, tokens), unstack(params)
    cache = read(config, unstacked, empty_cache(config, 2, 20), {0: tokens[0, :13], 1: tokens[1, :17]})
    sizes = {17: 20, 20: 32, 30: 64, 40: 50}  # by how many tokens row 1 has read
    for at in range(17, 50):
        if at in sizes:
            cache = _resize(config, cache, np.array([True, True]), np.int32(at), sizes[at])
        next_tokens = np.array([tokens[0, at - 4], tokens[1, at]], np.int32)
        hidden, cache = _step(config, unstacked, next_tokens, cache)
        for row, behind in ((0, 4), (1, 0)):
            np.testing.assert_allclose(hidden[row], wanted[row, at - behind], rtol=1e-4, atol=2e-5)


def test_reading_prompts_is_the_full_forward():
    config = tiny_model(context_length=LENGTH)
    params, tokens = make_params(config), packed_rows(2, 32)["inputs"]
    hidden, prefixes = _read(config, unstack(params), tokens)
    np.testing.assert_allclose(hidden, _full(config, params, tokens), rtol=1e-5, atol=1e-5)
    assert len(prefixes) == config.num_layers


@pytest.mark.slow
@pytest.mark.parametrize("name", BFLOAT16)
def test_in_bfloat16_it_is_the_full_forward_but_for_rounding(name: str):
    config = tiny_model(context_length=LENGTH, **BFLOAT16[name])
    params, tokens = make_params(config), packed_rows(1, LENGTH)["inputs"]
    wanted, unstacked = np.asarray(_full(config, params, tokens), np.float32), unstack(params)
    cache = read(config, unstacked, empty_cache(config, 1, 32), {0: tokens[0, :17]})
    for at in range(17, 32):
        hidden, cache = _step(config, unstacked, tokens[0, at : at + 1], cache)
        assert hidden.dtype == "bfloat16"
        np.testing.assert_allclose(np.asarray(hidden[0], np.float32), wanted[0, at], atol=0.06)


def test_a_ring_of_a_block_that_sees_a_window_is_no_larger():
    config = tiny_model(context_length=LENGTH, **CONFIGS["gpt_neo"])
    assert [ring.k_BGSK.shape[2] for ring in empty_cache(config, 1, LENGTH).rings] == [LENGTH, 10, LENGTH]


def test_a_cache_for_more_than_the_learned_positions_is_refused():
    config = tiny_model(context_length=LENGTH, **CONFIGS["gpt_neo"])
    with pytest.raises(UserError, match="shorten the text or train with a longer context"):
        empty_cache(config, 1, LENGTH + 1)
