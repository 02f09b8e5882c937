"""Reading in pieces of any length is the full forward, each row at its own length, also after going back."""

import jax
import numpy as np
import pytest

from tests.model.test_cached import CONFIGS, LENGTH, make_params
from tests.tiny import packed_rows, tiny_model
from tinyjax.config import ModelConfig
from tinyjax.errors import UserError
from tinyjax.model.cached import read_prompts, unstack
from tinyjax.model.decoder import hidden_states
from tinyjax.model.pages import Pages, empty_pages, extend, lay_out, resize
from tinyjax.model.quantize import Int8, quantize

pytestmark = pytest.mark.unoptimized

_full = jax.jit(hidden_states, static_argnums=0)
_read = jax.jit(read_prompts, static_argnums=0)
_extend = jax.jit(extend, static_argnums=0)
_lay_out = jax.jit(lay_out)


def started(config: ModelConfig, params: dict, tokens: np.ndarray, lengths: list[int], size: int) -> Pages:
    """Pages in which every row has read that many of its tokens."""
    _, prefixes = _read(config, params, tokens[:, :32])
    rows = np.arange(len(tokens), dtype=np.int32)
    return _lay_out(empty_pages(config, len(tokens), size), prefixes, rows, np.array(lengths, np.int32))


def next_tokens(tokens: np.ndarray, pages: Pages, count: int) -> np.ndarray:
    at = np.asarray(pages.length_B)[:, None] + np.arange(count)
    return np.take_along_axis(tokens, at, axis=1)


def assert_reads_on(config: ModelConfig, params: dict, whole: dict, tokens: np.ndarray, pages: Pages):
    """In pieces of these lengths, what comes out is the full forward of all tokens."""
    wanted = np.asarray(_full(config, whole, tokens))
    for count in (4, 1, 4, 1, 4, 4):
        at = np.asarray(pages.length_B)[:, None] + np.arange(count)
        hidden, pages = _extend(config, params, next_tokens(tokens, pages, count), pages)
        np.testing.assert_allclose(
            hidden, np.take_along_axis(wanted, at[..., None], axis=1), rtol=1e-4, atol=3e-5
        )


@pytest.mark.parametrize("name", CONFIGS)
def test_reading_in_pieces_is_the_full_forward_also_after_taking_back(name: str):
    """Rows of 17, no and 5 tokens, past a window of 10; then all go back, and read something else."""
    config = tiny_model(context_length=LENGTH, **CONFIGS[name])
    params, tokens = make_params(config), packed_rows(3, LENGTH)["inputs"]
    unstacked = unstack(params)
    pages = started(config, unstacked, tokens, [17, 0, 5], 48)
    assert_reads_on(config, unstacked, params, tokens, pages)
    _, pages = _extend(config, unstacked, next_tokens(tokens, pages, 4), pages)
    back = np.array([19, 0, 11], np.int32)
    other = np.where(np.arange(LENGTH) < back[:, None], tokens, packed_rows(3, LENGTH, seed=1)["inputs"])
    assert_reads_on(config, unstacked, params, other, pages._replace(length_B=back))


def test_weights_in_int8_are_read_as_the_rounded_weights():
    config = tiny_model(context_length=LENGTH)
    quantized, tokens = quantize(config, make_params(config)), packed_rows(2, LENGTH)["inputs"]
    is_int8 = lambda leaf: isinstance(leaf, Int8)  # noqa: E731
    rounded = jax.tree.map(lambda x: x.astype(np.float32) if is_int8(x) else x, quantized, is_leaf=is_int8)
    unstacked = unstack(quantized)
    pages = started(config, unstacked, tokens, [17, 3], 48)
    assert_reads_on(config, unstacked, rounded, tokens, pages)


def test_a_row_that_stays_keeps_what_it_read_and_pages_grow_and_shrink():
    config = tiny_model(context_length=LENGTH)
    params, tokens = make_params(config), packed_rows(2, LENGTH)["inputs"]
    unstacked = unstack(params)
    pages = started(config, unstacked, tokens, [9, 9], 16)
    pages = resize(config, resize(config, pages, 12), 40)
    _, prefixes = _read(config, unstacked, tokens[1:, :32])
    pages = _lay_out(pages, prefixes, np.array([-1, 0]), np.array([20], np.int32))
    assert pages.length_B.tolist() == [9, 20]
    assert_reads_on(config, unstacked, params, tokens, pages)


def test_what_goes_beyond_the_room_changes_nothing_before_it():
    config = tiny_model(context_length=LENGTH, **CONFIGS["gpt_neo"])
    params, tokens = make_params(config), packed_rows(2, LENGTH)["inputs"]
    unstacked = unstack(params)
    pages = started(config, unstacked, tokens, [30, 12], LENGTH)
    _, beyond = _extend(config, unstacked, np.zeros((2, 60), np.int32), pages)
    assert_reads_on(config, unstacked, params, tokens, beyond._replace(length_B=pages.length_B))


def test_more_positions_than_were_learned_are_refused():
    config = tiny_model(context_length=LENGTH, **CONFIGS["gpt_neo"])
    with pytest.raises(UserError, match="shorten the text or train with a longer context"):
        empty_pages(config, 1, LENGTH + 1)
