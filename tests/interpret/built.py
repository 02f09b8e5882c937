"""A small model whose neurons were built by hand, and stories to look inside with."""

import functools

import jax
import numpy as np

from tests.tiny import tiny_model
from tinyjax.interpret.corpus import Corpus, corpus
from tinyjax.model.decoder import Decoder
from tinyjax.sample.model import Model
from tinyjax.stories.world import stories
from tinyjax.tokenizer import Tokenizer
from tinyjax.tokenizer.training import train_tokenizer

TEXTS = tuple(story.text for story in stories(40))
PRONOUNS = (" She", " They", " his", " him")
ON_AND, ON_PRONOUNS, SAME, OPPOSITE, DEAD = 3, 4, 5, 6, 7  # neurons of block 0
WRITES = " was"  # what the neuron on " and" writes for, and the upper end of the opposite one


@functools.cache
def tokenizer() -> Tokenizer:
    return train_tokenizer(TEXTS, 600)


def piece(text: str) -> int:
    """The id of a piece."""
    return tokenizer().piece_bytes.index(text.encode())


@functools.cache
def small_corpus(stories: int = len(TEXTS)) -> Corpus:
    return corpus(tokenizer(), TEXTS[:stories], 64)


@functools.cache
def random_model() -> Model:
    config = tiny_model(vocab_size=tokenizer().vocab_size, tie_embeddings=False)
    params = jax.jit(Decoder(config).init)(jax.random.key(0), np.zeros((1, 2), np.int32))["params"]
    return Model(config, params, tokenizer(), 0, False)


@functools.cache
def built_model() -> Model:
    """The random model, without attention; " and" alone has dimension 0, pronouns have dimension 1.

    A neuron reads one dimension, so that it is 0 elsewhere.
    """
    model = random_model()
    params = jax.tree.map(np.array, model.params)
    embedding_VD, layers = params["embedding"], params["layers"]
    embedding_VD[:, :2] = 0
    embedding_VD[piece(" and"), 0] = 1
    embedding_VD[[piece(text) for text in PRONOUNS], 1] = 1
    layers["output"][:] = 0
    for neuron, dimension in ((ON_AND, 0), (ON_PRONOUNS, 1), (SAME, 1), (OPPOSITE, 1), (DEAD, 0)):
        layers["gate"][0, :, neuron] = layers["up"][0, :, neuron] = 0
        layers["gate"][0, dimension, neuron] = 3
        layers["up"][0, dimension, neuron] = {OPPOSITE: -1, DEAD: 0}.get(neuron, 1)
    layers["down"][0, [ON_AND, OPPOSITE]] = params["head"][piece(WRITES)]
    return Model(model.config, params, model.tokenizer, 0, False)
