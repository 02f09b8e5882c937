"""Every rule of choosing a token against NumPy, alone and together, and the frequencies of what is drawn."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyjax.data.manifests import Prepared
from tinyjax.errors import UserError
from tinyjax.sample.choosing import EXCLUDED, Past, Rules, adjust, choose, draw, keep, remember
from tinyjax.sample.options import Options
from tinyjax.sample.rules import make_past, make_rules
from tinyjax.tokenizer import Tokenizer

VOCAB = 320
PROMPT, DRAWN = (7, 9, 9, 30), (12, 12, 9, 200)

_adjust, _keep, _draw, _choose, _remember = map(jax.jit, (adjust, keep, draw, choose, remember))


@pytest.fixture(scope="module")
def tokenizer(tiny_data: Prepared) -> Tokenizer:
    return tiny_data.tokenizer


def setup(tokenizer: Tokenizer, *options: Options) -> tuple[Rules, Past]:
    rules = make_rules(options, tokenizer, VOCAB)
    return rules, make_past([(PROMPT, DRAWN)] * len(options), rules, VOCAB)


def random_logits(seed: int, rows: int = 1) -> np.ndarray:
    return (3 * np.random.default_rng(seed).normal(size=(rows, VOCAB))).astype(np.float32)


def adjusted(logits: np.ndarray, options: Options, tokenizer: Tokenizer) -> np.ndarray:
    """Penalties, bias and what is excluded, token by token, as the options' comments describe them."""
    out = logits.astype(np.float64).copy()
    for token in range(VOCAB):
        if token in PROMPT + DRAWN:
            factor = options.repetition_penalty
            out[token] = out[token] / factor if out[token] > 0 else out[token] * factor
        out[token] -= options.frequency_penalty * DRAWN.count(token)
        out[token] -= options.presence_penalty * (token in DRAWN)
        out[token] += dict(options.logit_bias).get(token, 0.0)
    if len(DRAWN) < options.min_tokens:
        out[[tokenizer.eos_id, *options.stop_tokens]] = EXCLUDED
    return out


def kept(logits: np.ndarray, options: Options) -> np.ndarray:
    """Which tokens top-k, of these top-p, and min-p leave, by sorting."""
    p = np.exp(logits.astype(np.float64) - np.max(logits))
    order = np.argsort(-p, kind="stable")
    order = order[: options.top_k or None]
    before = np.cumsum(p[order]) - p[order]
    order = order[before < options.top_p * p[order].sum()] if options.top_p < 1 else order
    out = np.zeros(VOCAB, bool)
    out[order] = p[order] >= options.min_p
    return out


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    options=st.builds(
        Options,
        repetition_penalty=st.floats(0.5, 2.0),
        frequency_penalty=st.floats(-2.0, 2.0),
        presence_penalty=st.floats(-2.0, 2.0),
        logit_bias=st.just(((5, 2.5), (9, -100.0))),
        min_tokens=st.integers(0, 8),
        stop_tokens=st.just((40,)),
    ),
)
def test_penalties_bias_and_least_length_are_numpys(seed: int, options: Options, tokenizer: Tokenizer):
    logits = random_logits(seed)
    got = _adjust(logits, *setup(tokenizer, options), np.array([len(DRAWN)], np.int32))[0]
    np.testing.assert_allclose(got, adjusted(logits[0], options, tokenizer), rtol=1e-5, atol=1e-5)


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    options=st.builds(
        Options,
        top_k=st.integers(0, VOCAB + 3),
        top_p=st.floats(0.01, 1.0),
        min_p=st.just(0.0) | st.floats(0.0, 0.9),
    ),
)
def test_filters_are_numpys(seed: int, options: Options, tokenizer: Tokenizer):
    logits = random_logits(seed)[0]
    got = np.asarray(_keep(logits[None], setup(tokenizer, options)[0]))[0] > EXCLUDED
    wanted = kept(logits, options)
    # Where the sum of the likelier ones is within rounding of top_p, either is right.
    edges = [kept(logits, dataclasses.replace(options, top_p=options.top_p + d)) for d in (-3e-6, 3e-6)]
    assert any((got == one).all() for one in (wanted, *edges)), (got.sum(), wanted.sum())


def test_rows_have_rules_of_their_own(tokenizer: Tokenizer):
    settings_of_rows: list[dict[str, Any]] = [
        {},
        {"top_k": 3},
        {"top_p": 0.5},
        {"min_p": 0.3},
        {"top_k": 9, "top_p": 0.9},
    ]
    options = [Options(**values) for values in settings_of_rows]
    logits = random_logits(3, len(options))
    got = np.asarray(_keep(logits, setup(tokenizer, *options)[0])) > EXCLUDED
    for row, option in enumerate(options):
        np.testing.assert_array_equal(got[row], kept(logits[row], option))


def test_equals_stay_or_go_together(tokenizer: Tokenizer):
    logits = np.zeros((1, VOCAB), np.float32)
    logits[0, :5] = 1.0
    got = np.asarray(_keep(logits, setup(tokenizer, Options(top_k=3))[0]))[0] > EXCLUDED
    assert got.sum() == 5


def test_what_is_drawn_has_the_probabilities_it_should():
    """Chi-square of 20,000 draws under a fixed seed; what has no probability is never drawn."""
    logits = random_logits(1)[0] / 3
    logits[100:140] = EXCLUDED  # across two blocks
    p = np.exp(logits.astype(np.float64))
    p /= p.sum()
    rows = np.broadcast_to(logits, (20_000, VOCAB))
    counts = np.bincount(_draw(rows, jax.random.split(jax.random.key(0), 20_000)), minlength=VOCAB)
    assert counts[100:140].sum() == 0
    expected = 20_000 * p[p > 0]
    assert scipy.stats.chisquare(counts[p > 0], expected).pvalue > 0.001


@pytest.mark.parametrize("token", [0, 127, 128, 319])
def test_a_certain_token_is_always_drawn(token: int):
    logits = np.full((500, VOCAB), EXCLUDED, np.float32)
    logits[:, token] = -3.0
    assert set(_draw(logits, jax.random.split(jax.random.key(1), 500)).tolist()) == {token}


def test_temperature_zero_takes_the_likeliest_beside_rows_that_draw(tokenizer: Tokenizer):
    options = [Options(temperature=0.0, top_k=3), Options(temperature=5.0)] * 20
    logits, keys = random_logits(2, 40), jax.random.split(jax.random.key(0), 40)
    drawn = np.asarray(_choose(logits, keys, *setup(tokenizer, *options), np.zeros(40, np.int32)))
    np.testing.assert_array_equal(drawn[::2], logits[::2].argmax(1))
    assert (drawn[1::2] != logits[1::2].argmax(1)).any()


def test_a_forbidden_text_is_never_completed(tokenizer: Tokenizer):
    """Its last token is excluded where those before it have just come, and only there."""
    rules, past = setup(tokenizer, Options(forbidden=("xylophone",)))
    ids = list(map(int, tokenizer.encode("xylophone")))
    assert len(ids) > 2
    zeros, none = np.zeros((1, VOCAB), np.float32), np.zeros(1, np.int32)
    for token in ids[:-1]:
        assert _adjust(zeros, rules, past, none)[0, ids[-1]] == 0
        past = _remember(past, np.array([token], np.int32))
    excluded = np.asarray(_adjust(zeros, rules, past, none))[0] == EXCLUDED
    assert np.flatnonzero(excluded).tolist() == [ids[-1]]


def test_the_past_goes_on_as_tokens_are_drawn(tokenizer: Tokenizer):
    past = _remember(setup(tokenizer, Options(frequency_penalty=1.0))[1], np.array([12], np.int32))
    assert past.drawn_BV[0, 12] == 3


def test_a_token_that_does_not_exist_is_refused(tokenizer: Tokenizer):
    with pytest.raises(UserError, match="there is no token 999; the tokenizer's are 0 to 319"):
        setup(tokenizer, Options(logit_bias=((999, 1.0),)))
