"""n-gram models count exactly what stands in the stories, and are distributions."""

import collections
import itertools
import math
import pickle

import numpy as np
import pytest

from tests.tiny import little_stories
from tinyjax.data.manifests import Prepared, shards
from tinyjax.evaluate.probes import ngrams
from tinyjax.evaluate.probes.ngrams import NgramModel, collect, count_stories
from tinyjax.stories.splitting import TRAIN
from tinyjax.tokenizer import Tokenizer

TEXTS = little_stories(120)
ROWS = ["Lily saw 3 kites and was sad.", "Ben saw a dragon. Ben saw a dragon."]


def grams_by_hand(tokenizer: Tokenizer, texts) -> collections.Counter:
    """All n-grams of stories, each beginning once with bos and ending with "end"."""
    found = collections.Counter()
    for text in texts:
        ids = [tokenizer.bos_id, *tokenizer.encode(text).tolist(), "end"]
        for n in range(1, ngrams.ORDER + 1):
            found.update(zip(*(ids[i:] for i in range(n)), strict=False))
    return found


def p_by_hand(counts: collections.Counter, tokens: int, vocab_size: int, history: tuple, word) -> float:
    if not history:
        return (counts[(word,)] + 1) / (tokens + vocab_size)
    shorter = p_by_hand(counts, tokens, vocab_size, history[1:], word)
    prior = ngrams._PRIOR
    return (counts[(*history, word)] + prior * shorter) / (counts[history] + prior)


@pytest.fixture(scope="module")
def tokenizer(tiny_data: Prepared) -> Tokenizer:
    return tiny_data.tokenizer


@pytest.fixture(scope="module")
def rows(tokenizer: Tokenizer) -> list[list[int]]:
    return [[tokenizer.bos_id, *tokenizer.encode(text).tolist()] for text in ROWS]


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer, rows) -> NgramModel:
    grams = collect(rows, tokenizer.vocab_size)
    return NgramModel(grams, *count_stories(grams, tokenizer, TEXTS))


@pytest.fixture(scope="module")
def by_hand(tokenizer: Tokenizer) -> collections.Counter:
    return grams_by_hand(tokenizer, TEXTS)


def test_counts_are_those_of_looking_at_every_n_gram(model: NgramModel, tokenizer, rows, by_hand):
    for row in rows:
        for n, index in enumerate(model.grams.find(np.array(row)), 1):
            grams = list(zip(*(row[i:] for i in range(n)), strict=False))
            assert model.counts[n - 1][index].tolist() == [by_hand[gram] for gram in grams]
    assert any(count.max() == 0 or count.min() == 0 for count in model.counts)  # some never occur
    assert model.tokens == sum(len(tokenizer.encode(text)) + 1 for text in TEXTS)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_probabilities_are_those_of_the_formula(model: NgramModel, tokenizer, rows, by_hand, order: int):
    for row in rows:
        wanted = [
            p_by_hand(
                by_hand, model.tokens, tokenizer.vocab_size, tuple(row[max(i - order + 1, 0) : i]), row[i]
            )
            for i in range(1, len(row))
        ]
        np.testing.assert_allclose(model.logprobs(row, order)[1:], np.log(wanted), rtol=1e-12)


def test_all_that_may_follow_has_probability_one(model: NgramModel, tokenizer, rows, by_hand):
    """Of each token of the vocabulary after the same history; eos, which ends stories, is one of them."""
    history = tuple(rows[0][:6])[-4:]
    following = [w for w in range(tokenizer.vocab_size) if w not in (tokenizer.eos_id, tokenizer.bos_id)]
    grams = collect([[*history, w] for w in following], tokenizer.vocab_size)
    whole = NgramModel(grams, *count_stories(grams, tokenizer, TEXTS))
    total = math.fsum(math.exp(whole.logprobs([*history, w])[-1]) for w in following)
    others = [
        p_by_hand(by_hand, model.tokens, tokenizer.vocab_size, history, w) for w in ("end", "never seen")
    ]
    assert total + sum(others) == pytest.approx(1)


def test_stories_do_not_run_into_each_other(tokenizer: Tokenizer):
    ids = tokenizer.encode("Tom").tolist()
    grams = collect([[*ids, *ids]], tokenizer.vocab_size)
    counts, _ = count_stories(grams, tokenizer, ["Tom", "Tom"])
    assert counts[len(ids) - 1].max() == 2
    assert not any(count.any() for count in counts[len(ids) :])


def test_a_folder_gives_the_counts_of_its_training_stories(tiny_data: Prepared, tokenizer, rows):
    grams = collect(rows, tokenizer.vocab_size)
    files = shards(tiny_data.path, TRAIN)
    counted = []
    model = ngrams.train(grams, tokenizer, files, counted=lambda: counted.append(1))
    counts, tokens = count_stories(grams, tokenizer, [r.text for r in tiny_data.stories(TRAIN)])
    assert model.tokens == tokens
    for one, other in itertools.zip_longest(model.counts, counts):
        np.testing.assert_array_equal(one, other)
    assert len(counted) == len(files)
    assert pickle.loads(pickle.dumps(grams)).vocab_size == grams.vocab_size  # goes to workers
