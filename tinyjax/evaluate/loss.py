"""Loss over a whole set of stories, in units that can be compared between tokenizers.

bits/byte = nats of all targets (the end of each story included) / ln 2 / bytes of the original UTF-8 text
(separators between stories not included).
"""

import dataclasses
import math
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tinyjax.config import ModelConfig
from tinyjax.model.loss import Batch, token_nll
from tinyjax.parallel.sharding import put_batch

# Of a batch: nats, UTF-8 bytes and segment of each target, [B, T] each.
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


def compile_scores(model: ModelConfig, mesh: Mesh) -> Callable[[dict, Batch, jax.Array], Scores]:
    """Returns the jitted function (params, batch, bytes of each token id) -> Scores, whole on each host."""

    def scores(params: dict, batch: Batch, token_bytes_V: jax.Array) -> Scores:
        bytes_BT = jnp.where(batch["segments"] > 0, token_bytes_V[batch["targets"]], 0)
        return token_nll(model, params, batch), bytes_BT, batch["segments"]

    jitted = jax.jit(scores, out_shardings=NamedSharding(mesh, PartitionSpec()))

    def run(params: dict, batch: Batch, token_bytes_V: jax.Array) -> Scores:
        with jax.set_mesh(mesh):
            return jitted(params, batch, token_bytes_V)

    return run


def evaluate_loss(
    scores: Callable[[dict, Batch, jax.Array], Scores],
    params: dict,
    batches: Iterable[dict[str, np.ndarray]],
    token_bytes_V: np.ndarray,
    mesh: Mesh,
) -> Evaluation:
    """Scores every batch and sums up; `scores` is what `compile_scores` returned."""
    token_bytes = jnp.asarray(token_bytes_V)
    parts = [
        story_sums(*map(np.asarray, scores(params, put_batch(mesh, batch), token_bytes))) for batch in batches
    ]
    return summarise(*(np.concatenate(column) for column in zip(*parts, strict=True)))


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
