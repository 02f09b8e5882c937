"""The loss of each story is that of the story alone, whatever it is measured with."""

import math

import numpy as np
import pytest

from tests.evaluate.test_loss import nats_of_text
from tests.tiny import little_stories
from tinyjax.evaluate.difficulty import story_losses
from tinyjax.sample.model import load_model

# Of every length: longer than the model's context of 64 tokens, a letter, and just as much as a window holds.
TEXTS = [*little_stories(45), "A", "Zoë! " * 50, "", *("Lily saw a boat. " * n for n in range(1, 12))]


@pytest.fixture(scope="module")
def model(tiny_run):
    return load_model(tiny_run)


def test_it_is_the_sum_over_the_targets_of_the_story_alone(model):
    losses = story_losses(model, TEXTS)
    assert losses.shape == (len(TEXTS),)
    assert losses.dtype == np.float64
    pieces = [nats_of_text(model.config, model.params, model.tokenizer, text) for text in TEXTS]
    assert {len(of_text) for of_text in pieces} >= {1, 2, 3}
    wanted = [
        sum(nats) / max(len(text.encode()), 1) / math.log(2) for nats, text in zip(pieces, TEXTS, strict=True)
    ]
    np.testing.assert_allclose(losses, wanted, rtol=1e-5)


def test_the_rest_of_the_batch_changes_nothing(model):
    losses = story_losses(model, TEXTS)
    order = np.random.default_rng(0).permutation(len(TEXTS))[:20]
    np.testing.assert_allclose(story_losses(model, [TEXTS[i] for i in order]), losses[order], rtol=1e-5)
    assert story_losses(model, []).shape == (0,)


def test_what_the_model_was_trained_on_is_easy(model):
    easy, hard = story_losses(model, ["Lily saw 3 boats and was happy.", "Quantum zephyrs vex jolly kin."])
    assert easy < hard / 2
