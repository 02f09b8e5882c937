"""What the model thinks of a text is what it thought when it told it, and what the full forward says."""

import pathlib
from typing import Any

import jax
import numpy as np
import pytest

from tinyjax.errors import UserError
from tinyjax.model.decoder import Decoder
from tinyjax.sample.model import Model, load_model
from tinyjax.sample.options import Options
from tinyjax.sample.score import score
from tinyjax.sample.stories import generate


@pytest.fixture(scope="module")
def model(tiny_run: pathlib.Path) -> Model:
    return load_model(tiny_run)


def test_scores_are_those_of_the_full_forward(model: Model):
    """Of texts of several lengths, whatever stands beside them."""
    texts = [("", "Lily saw 3 kites."), ("Tom", " was happy. Ben was sad."), ("Tom saw", " a"), ("", "")]
    scores = score(model, texts, ends=True, alternatives=2)
    assert [(one.prompt, one.text) for one in scores] == texts
    for (prompt, text), one in zip(texts, scores, strict=True):
        tokenizer = model.tokenizer
        ids = [tokenizer.bos_id, *tokenizer.encode(prompt + text).tolist(), tokenizer.eos_id]
        logits: Any = Decoder(model.config).apply({"params": model.params}, np.array([ids]))
        wanted = np.asarray(jax.nn.log_softmax(logits))[0, np.arange(len(ids) - 1), ids[1:]]
        count = len(one.tokens)
        np.testing.assert_allclose([token.logprob for token in one.tokens], wanted[-count:], atol=1e-4)
        assert [token.id for token in one.tokens] == ids[-count:]
        assert len(ids) - 1 - count == len(tokenizer.encode(prompt))
        assert all(len(token.alternatives) == 2 for token in one.tokens)
        assert all(token.alternatives[0][1] >= token.logprob - 1e-5 for token in one.tokens)


def test_a_story_has_the_log_probability_that_it_was_told_with(model: Model):
    (story,) = generate(model, [""], options=Options(temperature=1.0))
    (scored,) = score(model, [("", story.text)], ends=story.finish == "end")
    assert tuple(token.id for token in scored.tokens) == tuple(token.id for token in story.tokens)
    assert scored.logprob == pytest.approx(story.logprob, abs=1e-3)


def test_a_text_longer_than_the_context_is_refused(model: Model):
    with pytest.raises(UserError, match=r"has \d+ tokens but the model's context is 64; shorten it"):
        score(model, [("", "Lily saw a boat. " * 20)])
