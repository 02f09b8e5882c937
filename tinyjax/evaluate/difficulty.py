"""The difficulty of stories for a model: the loss of each, in bits/byte of its own text."""

import functools
import math
from collections.abc import Sequence
from typing import Protocol

import jax
import numpy as np

from tinyjax.config import ModelConfig
from tinyjax.data.windows import Piece, cut_example
from tinyjax.evaluate.rows import batches
from tinyjax.model.loss import Batch, token_nll
from tinyjax.tokenizer import Tokenizer


class Model(Protocol):
    """What the loss needs of a model; what `tinyjax.sample.model.load_model` reads has it."""

    @property
    def config(self) -> ModelConfig:
        """The architecture."""

    @property
    def params(self) -> dict:
        """The parameters."""

    @property
    def tokenizer(self) -> Tokenizer:
        """What cuts texts into its tokens."""


def story_losses(model: Model, texts: Sequence[str]) -> np.ndarray:
    """Returns the loss of each text in bits/byte of its UTF-8, float64[texts].

    Its end is a target and counts, as everywhere. What is longer than the model's context is cut as in
    training, and the pieces' losses are added up. Which other texts there are makes no difference.
    """
    pieces = [_cut(model, text) for text in texts]
    owners = np.repeat(np.arange(len(texts)), [len(of_text) for of_text in pieces])
    nats = _piece_nats(model, [piece for of_text in pieces for piece in of_text])
    num_bytes = np.array([max(len(text.encode()), 1) for text in texts])
    return np.bincount(owners, nats, len(texts)) / num_bytes / math.log(2)


def _cut(model: Model, text: str) -> list[np.ndarray]:
    tokenizer = model.tokenizer
    ids = np.concatenate([[tokenizer.bos_id], tokenizer.encode(text), [tokenizer.eos_id]])
    return [piece.ids for piece in cut_example(Piece(ids), model.config.context_length)]


def _piece_nats(model: Model, pieces: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the loss of all targets of each piece, float64[pieces]."""
    nats = np.zeros(len(pieces))
    for chosen, batch in batches(pieces, model.config.context_length):
        nats[chosen] = _row_nats(model.config, model.params, batch)[: len(chosen)]
    return nats


@functools.partial(jax.jit, static_argnums=0)
def _row_nats(config: ModelConfig, params: dict, batch: Batch) -> jax.Array:
    return token_nll(config, params, batch).sum(axis=1)
