"""The loss of every token of given texts, each text by itself, whatever tokenizer the model has."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tinyjax.config import ModelConfig
from tinyjax.data.windows import Piece, common_length, cut_example
from tinyjax.evaluate.rows import batches
from tinyjax.model.loss import Batch, token_nll
from tinyjax.parallel.sharding import put_batch
from tinyjax.sample.model import Model

_CHUNK = 64  # positions whose logits are in memory at a time: a batch's may be a gigabyte


class Text(NamedTuple):
    """A text to be predicted."""

    text: str
    prompt: str = ""  # what it begins with; it is read, but isn't predicted
    ends: bool = True  # whether its end is predicted too


class Loss(NamedTuple):
    """The loss of a text."""

    nats: np.ndarray  # of each token that was predicted, float64
    num_bytes: int  # of UTF-8 that these tokens stand for


class _Row(NamedTuple):
    ids: np.ndarray
    skipped: int  # so many of the first targets aren't predicted
    num_bytes: int


def replicate(model: Model, mesh: Mesh) -> dict:
    """Returns the parameters on all devices of a mesh, as `text_losses` takes them."""
    return jax.device_put(model.params, NamedSharding(mesh, PartitionSpec()))


def text_losses(model: Model, params: dict, texts: Sequence[Text], mesh: Mesh) -> list[Loss]:
    """Returns the loss of each text.

    What is longer than the model's context is cut as in training. Which other texts there are makes no
    difference. A token that lies across the end of the prompt is predicted.

    Args:
      model: whose tokenizer and config these are.
      params: its parameters, replicated; or those in int8.
      texts: what is predicted.
      mesh: the devices that share the texts of a batch.
    """
    rows = [_row(model, text) for text in texts]
    cut = [cut_example(Piece(row.ids), model.config.context_length) for row in rows]
    found = _piece_losses(model, params, [piece.ids for of_text in cut for piece in of_text], mesh)
    ends = np.cumsum([len(of_text) for of_text in cut])
    return [
        Loss(np.concatenate([np.zeros(0), *found[end - len(of_text) : end]])[row.skipped :], row.num_bytes)
        for row, of_text, end in zip(rows, cut, ends, strict=True)
    ]


def _row(model: Model, text: Text) -> _Row:
    """Returns [bos, ..., eos] of a text."""
    tokenizer = model.tokenizer
    ids = tokenizer.encode(text.text)
    skipped = common_length(ids, tokenizer.encode(text.prompt)) if text.prompt else 0
    read = len(tokenizer.decode_bytes(ids[:skipped].tolist()))
    end = [tokenizer.eos_id] if text.ends else []
    return _Row(
        np.concatenate([[tokenizer.bos_id], ids, end]).astype(np.int32),
        skipped,
        len(text.text.encode()) - read,
    )


def _piece_losses(model: Model, params: dict, pieces: Sequence[np.ndarray], mesh: Mesh) -> list[np.ndarray]:
    """Returns the loss of each target of each piece."""
    losses = [np.zeros(0)] * len(pieces)
    with jax.set_mesh(mesh):
        for chosen, batch in batches(pieces, model.config.context_length, shards=mesh.size):
            nats_BT = np.asarray(_nats(model.config, params, put_batch(mesh, batch)), np.float64)
            for row, piece in enumerate(chosen):
                losses[piece] = nats_BT[row, : len(pieces[piece]) - 1]
    return losses


@functools.partial(jax.jit, static_argnums=0)
def _nats(config: ModelConfig, params: dict, batch: Batch) -> jax.Array:
    return token_nll(config, params, batch, _CHUNK)
