"""Temperature, top-k and top-p against NumPy, and the frequencies of what is drawn."""

import jax
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyjax.errors import UserError
from tinyjax.sample.options import EXCLUDED, Options, _filter, check, choose

VOCAB = 12
filter_ = jax.jit(_filter)
choose_many = jax.jit(jax.vmap(choose, (None, 0, None)))


def distribution(logits: np.ndarray, temperature: float, top_k: int, top_p: float) -> np.ndarray:
    """The probabilities as the flags' help describes them."""
    scaled = logits.astype(np.float64) / temperature
    p = np.exp(scaled - np.max(scaled))
    p /= p.sum()
    order = np.argsort(-p, kind="stable")
    kept = list(order[:top_k] if top_k else order)
    share = np.cumsum(p[kept] / p[kept].sum())
    enough = int(np.searchsorted(share, top_p - 1e-6)) + 1 if top_p < 1 else len(kept)
    kept = kept[:enough]
    out = np.zeros_like(p)
    out[kept] = p[kept] / p[kept].sum()
    return out


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    temperature=st.floats(0.1, 5.0),
    top_k=st.integers(0, VOCAB + 3),
    top_p=st.floats(0.01, 1.0),
)
def test_the_filter_is_numpys(seed: int, temperature: float, top_k: int, top_p: float):
    logits = np.random.default_rng(seed).normal(size=VOCAB).astype(np.float32) * 3
    wanted = distribution(logits, temperature, top_k, top_p)
    got = np.asarray(filter_(logits / np.float32(temperature), Options(temperature, top_k, top_p)))
    p = np.exp(got - got.max())
    p /= p.sum()
    # Where the sum of the likelier ones is within rounding of top_p, either is right.
    edge = distribution(logits, temperature, top_k, min(1.0, top_p + 3e-6))
    ok = np.allclose(p, wanted, atol=1e-5) or np.allclose(p, edge, atol=1e-5)
    assert ok, (p, wanted)


@pytest.mark.parametrize(
    "options",
    [Options(1.0), Options(0.5), Options(2.0, top_k=5), Options(1.0, top_p=0.7), Options(1.5, 6, 0.8)],
)
def test_what_is_drawn_has_the_probabilities_it_should(options: Options):
    """Chi-square of 20,000 draws under a fixed seed; nothing outside of the filter is ever drawn."""
    logits = np.random.default_rng(1).normal(size=VOCAB).astype(np.float32)
    p = distribution(logits, *options)
    drawn = np.asarray(choose_many(logits, jax.random.split(jax.random.key(0), 20_000), options))
    counts = np.bincount(drawn, minlength=VOCAB)
    assert counts[p == 0].sum() == 0
    assert scipy.stats.chisquare(counts[p > 0], 20_000 * p[p > 0]).pvalue > 0.001


def test_temperature_zero_takes_the_likeliest_whatever_the_key():
    logits = np.random.default_rng(1).normal(size=VOCAB).astype(np.float32)
    drawn = choose_many(logits, jax.random.split(jax.random.key(0), 50), Options(0.0, 3, 0.5))
    assert set(np.asarray(drawn).tolist()) == {int(np.argmax(logits))}


def test_of_equals_top_k_keeps_exactly_k():
    kept = np.asarray(filter_(np.zeros(VOCAB, np.float32), Options(1.0, top_k=4)))
    assert (kept > EXCLUDED).sum() == 4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (Options(temperature=-1.0), "--temperature is -1.0; it must be 0 or more"),
        (Options(temperature=float("nan")), "--temperature is nan"),
        (Options(temperature=float("inf")), "--temperature is inf"),
        (Options(top_k=-1), "--top_k is -1; it must be 0"),
        (Options(top_p=0.0), "--top_p is 0.0; it must be above 0 and at most 1"),
        (Options(top_p=1.5), "--top_p is 1.5"),
    ],
)
def test_options_out_of_range_are_refused(options: Options, said: str):
    with pytest.raises(UserError) as error:
        check(options)
    assert said in str(error.value)
    assert check(Options()) == Options()
