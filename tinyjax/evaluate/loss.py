"""Loss over a whole set of stories, in units that can be compared between tokenizers.

bits/byte = nats of all targets (the end of each story included) / ln 2 / bytes of the original UTF-8 text
(separators between stories not included). Where the loss is on stories only, so are targets and bytes.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tinyjax.config import ModelConfig
from tinyjax.model.loss import Batch, token_nll
from tinyjax.parallel.sharding import put_batch
from tinyjax.tokenizer import Tokenizer

# Of a batch: nats, UTF-8 bytes and segment (0: doesn't count) of each target, [B, T] each.
Scores = tuple[jax.Array, jax.Array, jax.Array]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Loss over a set of stories."""

    nats_per_token: float
    bits_per_byte: float
    standard_error: float  # of bits_per_byte, over stories
    tokens: int
    bytes: int
    stories: int


def compile_scores(
    model: ModelConfig, mesh: Mesh, tokenizer: Tokenizer, chunk: int = 0
) -> Callable[[dict, Batch], Scores]:
    """Returns the jitted function (params, batch) -> Scores, whole on each host.

    Logits are computed for `chunk` positions at a time; 0: for all at once.
    """
    token_bytes = tokenizer.token_bytes_V
    jitted = jit_scores(model, mesh, tokenizer.bos_id, tokenizer.prefix_bytes, chunk)

    def run(params: dict, batch: Batch) -> Scores:
        with jax.set_mesh(mesh):
            return jitted(params, batch, token_bytes)

    return run


def jit_scores(model: ModelConfig, mesh: Mesh, bos_id: int, prefix_bytes: int, chunk: int) -> Any:
    """Returns the jitted (params, batch, token_bytes_V) -> Scores, to be called with `mesh` set."""

    def scores(params: dict, batch: Batch, token_bytes_V: jax.Array) -> Scores:
        # The first id of a story may stand for a space that the tokenizer has put before it.
        prefix_BT = jnp.where(batch["inputs"] == bos_id, prefix_bytes, 0)
        counted_BT = batch["weights"] > 0
        bytes_BT = jnp.where(counted_BT, token_bytes_V[batch["targets"]] - prefix_BT, 0)
        return token_nll(model, params, batch, chunk), bytes_BT, jnp.where(counted_BT, batch["segments"], 0)

    return jax.jit(scores, out_shardings=NamedSharding(mesh, PartitionSpec()))


def evaluate_loss(
    scores: Callable[[dict, Batch], Scores],
    params: dict,
    batches: Iterable[dict[str, np.ndarray]],
    mesh: Mesh,
) -> Evaluation:
    """Scores every batch and sums up; `scores` is what `compile_scores` returned."""
    return summarise(*sums_of_stories(scores, params, batches, mesh))


def sums_of_stories(
    scores: Callable[[dict, Batch], Scores],
    params: dict,
    batches: Iterable[dict[str, np.ndarray]],
    mesh: Mesh,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns nats, bytes and tokens of every segment of all batches."""
    parts = [story_sums(*map(np.asarray, scores(params, put_batch(mesh, batch)))) for batch in batches]
    nats, num_bytes, tokens = (np.concatenate(column) for column in zip(*parts, strict=True))
    return nats, num_bytes, tokens


def story_sums(
    nll_BT: np.ndarray, bytes_BT: np.ndarray, segments_BT: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns nats, bytes and tokens of every segment (a story, or a piece of one too long for a window)."""
    rows, columns = np.nonzero(segments_BT)
    width = segments_BT.max() + 1
    key = rows * width + segments_BT[rows, columns]
    _, story = np.unique(key, return_inverse=True)
    nats = np.bincount(story, nll_BT[rows, columns].astype(np.float64))
    return nats, np.bincount(story, bytes_BT[rows, columns]), np.bincount(story)


def summarise(nats: np.ndarray, num_bytes: np.ndarray, tokens: np.ndarray) -> Evaluation:
    """Totals over stories; the standard error is that of a ratio of means (linearised)."""
    ratio = nats.sum() / num_bytes.sum()
    residual = nats - ratio * num_bytes
    count = len(nats)
    error = math.sqrt(count / max(count - 1, 1) * float(np.sum(residual**2))) / num_bytes.sum()
    return Evaluation(
        nats_per_token=float(nats.sum() / tokens.sum()),
        bits_per_byte=float(ratio / math.log(2)),
        standard_error=float(error / math.log(2)),
        tokens=int(tokens.sum()),
        bytes=int(num_bytes.sum()),
        stories=count,
    )
