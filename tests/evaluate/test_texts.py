"""The loss of every token of a text is that of the text alone, on one device and on eight."""

import numpy as np
import pytest

from tests.evaluate.test_loss import nats_of_text
from tests.tiny import little_stories
from tinyjax.config import MeshConfig
from tinyjax.evaluate.texts import Text, replicate, text_losses
from tinyjax.parallel.sharding import make_mesh
from tinyjax.sample.model import load_model

# Of every length: longer than the model's context of 64 tokens, a letter, and just as much as a window holds.
TEXTS = [*little_stories(45), "A", "Zoë! " * 50, "", *("Lily saw a boat. " * n for n in range(1, 12))]


@pytest.fixture(scope="module")
def model(tiny_run):
    return load_model(tiny_run)


@pytest.fixture(scope="module")
def tell(model, devices):
    def tell(texts, number: int = 1):
        mesh = make_mesh(MeshConfig(), devices[:number])
        return text_losses(model, replicate(model, mesh), texts, mesh)

    return tell


@pytest.mark.parametrize("number", [1, 8])
def test_it_is_the_sum_over_the_targets_of_the_text_alone(model, tell, number: int):
    losses = tell([Text(text) for text in TEXTS], number)
    wanted = [sum(nats_of_text(model.config, model.params, model.tokenizer, text)) for text in TEXTS]
    np.testing.assert_allclose([loss.nats.sum() for loss in losses], wanted, rtol=1e-5)
    assert [loss.num_bytes for loss in losses] == [len(text.encode()) for text in TEXTS]
    assert [len(loss.nats) for loss in losses] == [len(model.tokenizer.encode(text)) + 1 for text in TEXTS]


@pytest.mark.parametrize("repeats", [1, 9])
def test_what_comes_after_a_prompt_is_the_rest_of_the_whole(tell, repeats: int):
    """Also where it is cut in the prompt, or after it."""
    prompt, rest = "Lily saw a boat." * repeats, " Tom was sad. Zoë was not." * repeats
    whole, after = tell([Text(prompt + rest), Text(prompt + rest, prompt)])
    assert 0 < len(after.nats) < len(whole.nats)
    np.testing.assert_allclose(after.nats, whole.nats[-len(after.nats) :], rtol=1e-6)
    assert after.num_bytes == len(rest.encode())


def test_the_end_counts_where_it_was_told(tell):
    whole, cut, nothing = tell([Text(TEXTS[1]), Text(TEXTS[1], ends=False), Text("Lily", "Lily", ends=False)])
    np.testing.assert_allclose(cut.nats, whole.nats[:-1], rtol=1e-6)
    assert cut.num_bytes == whole.num_bytes
    assert (len(nothing.nats), nothing.num_bytes) == (0, 0)
    assert tell([]) == []
