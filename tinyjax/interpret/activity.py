"""What units do over many stories, summed up batch by batch; a unit is a neuron, or a feature.

What is kept has one size, whatever the number of stories: sums, and of each unit the tokens that move it
most, one of a story at most, so that one story doesn't fill the list.
Axes: N stories, B of a batch, T positions, F units, P ways to part tokens into G groups in all, K kept
tokens, E bins.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tinyjax.interpret.capture import look
from tinyjax.interpret.corpus import Corpus, take_rows
from tinyjax.sample.model import Model

Array = jax.Array | np.ndarray

# Bins of histograms go by powers of two, so that no first pass is needed and models share them. The first and
# the last have no end; what is an edge is in the bin farther from 0.
_LEAST, _MOST = -8, 6
_POWERS = 2.0 ** np.arange(_LEAST, _MOST + 1, dtype=np.float32)
EDGES = np.array([*-_POWERS[::-1], 0, *_POWERS])
PAIRS_LIMIT = 4096  # wider layers are not searched for units that go together: it takes F x F sums


class Units(NamedTuple):
    """Where units are read from: `read(weights, activation)` is [B, T, F] of the activation `source`."""

    source: str
    count: int  # F
    read: Callable[[Any, jax.Array], jax.Array]
    weights: Any = None


class Extremes(NamedTuple):
    """The tokens that units are highest on, the highest first; -inf where there were fewer stories."""

    value_FK: Any  # float32
    story_FK: Any  # int32
    position_FK: Any  # int32


class Sums(NamedTuple):
    """Sums over the tokens that count."""

    group_GF: Any  # activations of the tokens of each group
    square_F: Any
    product_FF: Any  # None in wide layers
    active_F: Any  # tokens on which a unit is not 0
    bins_EF: Any


@dataclasses.dataclass(frozen=True)
class Activity:
    """What units did over a corpus."""

    tokens: int
    sums: Sums  # float64
    highest: Extremes
    lowest: Extremes  # of the activations' negatives


def gather(
    model: Model,
    corpus: Corpus,
    units: Mapping[str, Units],
    counted_NT: np.ndarray,
    groups_PNT: np.ndarray,
    num_groups: int,
    *,
    keep: int = 20,
    batch_size: int = 16,
) -> dict[str, Activity]:
    """Runs the model over a corpus, a batch of it in memory at a time.

    Args:
      model: from `load_model`, or `bin.loading.load`.
      corpus: stories, one a row.
      units: what to look at, by name.
      counted_NT: which tokens count.
      groups_PNT: int32 numbers of the groups a token is in, one of each way to part them.
      num_groups: G.
      keep: tokens to keep of each unit.
      batch_size: stories run at a time.
    """
    step = jax.jit(functools.partial(_step, model, units, num_groups))
    weights = {name: one.weights for name, one in units.items()}
    ends = {name: (nothing(one.count, keep), nothing(one.count, keep)) for name, one in units.items()}
    totals = None
    for batch in _batches(corpus, counted_NT, groups_PNT, batch_size):
        ends, sums = step(model.params, weights, ends, batch)
        sums = jax.tree.map(lambda x: np.asarray(x, np.float64), sums)
        totals = sums if totals is None else jax.tree.map(np.add, totals, sums)
    assert totals is not None
    ends, tokens = jax.device_get(ends), int(counted_NT.sum())
    return {name: Activity(tokens, totals[name], *ends[name]) for name in units}


def nothing(units: int, keep: int) -> Extremes:
    """Returns the extremes of no token."""
    place_FK = np.zeros((units, keep), np.int32)
    return Extremes(np.full((units, keep), -np.inf, np.float32), place_FK, place_FK)


def keep_highest(kept: Extremes, activation_BTF: Array, counted_BT: Array, story_B: Array) -> Extremes:
    """Returns the extremes with those of a batch among them; of equal ones those from before stay."""
    masked_BTF = jnp.where(counted_BT[..., None], activation_BTF, -jnp.inf)
    best_B1F = masked_BTF.max(axis=1, keepdims=True)
    # A CPU finds the place six times as fast by another plain reduction as by argmax.
    index_T1 = jnp.arange(masked_BTF.shape[1], dtype=jnp.int32)[:, None]
    place_BF = jnp.where(masked_BTF == best_B1F, index_T1, masked_BTF.shape[1]).min(axis=1)
    story_FB = jnp.broadcast_to(story_B, place_BF.T.shape)
    value_FK, chosen_FK = jax.lax.top_k(
        jnp.concatenate([kept.value_FK, best_B1F[:, 0].T], axis=1), kept.value_FK.shape[1]
    )

    def choose(old_FK: Array, new_FB: jax.Array) -> jax.Array:
        return jnp.take_along_axis(jnp.concatenate([old_FK, new_FB], axis=1), chosen_FK, axis=1)

    return Extremes(value_FK, choose(kept.story_FK, story_FB), choose(kept.position_FK, place_BF.T))


def sum_up(activation_BTF: Array, counted_BT: Array, groups_PBT: Array, num_groups: int) -> Sums:
    """Returns the sums over a batch."""
    width = activation_BTF.shape[-1]
    counted_N1 = counted_BT.reshape(-1, 1)
    activation_NF = jnp.where(counted_N1, activation_BTF.reshape(-1, width), 0)
    member_NG = jax.nn.one_hot(groups_PBT.reshape(len(groups_PBT), -1), num_groups).sum(axis=0)
    multiply = functools.partial(jnp.einsum, precision="highest")
    return Sums(
        multiply("ng,nf->gf", member_NG, activation_NF),
        jnp.square(activation_NF).sum(axis=0),
        multiply("nf,ng->fg", activation_NF, activation_NF) if width <= PAIRS_LIMIT else None,
        jnp.count_nonzero(activation_NF, axis=0),
        _histogram(activation_NF, counted_N1),
    )


def _histogram(activation_NF: jax.Array, counted_N1: Array) -> jax.Array:
    """Returns the counts between EDGES, by the exponents of the numbers: far cheaper than comparing."""
    half = len(EDGES) // 2  # edges on each side of 0
    _, exponent_NF = jnp.frexp(activation_NF)  # |x| < 2 ** exponent
    size_NF = jnp.where(activation_NF == 0, 0, jnp.clip(exponent_NF - _LEAST, 0, half))
    bin_NF = jnp.where(activation_NF < 0, half - size_NF, half + 1 + size_NF)
    bins, width = len(EDGES) + 1, activation_NF.shape[1]
    counts_NF = jnp.broadcast_to(counted_N1.astype(jnp.int32), bin_NF.shape)
    flat = jnp.zeros(width * bins, jnp.int32).at[bin_NF + bins * jnp.arange(width)].add(counts_NF)
    return flat.reshape(width, bins).T


class _Batch(NamedTuple):
    """Some stories of a corpus, and which they are."""

    tokens_BT: Any
    segments_BT: Any
    counted_BT: Any
    groups_PBT: Any
    story_B: Any


def _batches(corpus: Corpus, counted_NT: np.ndarray, groups_PNT: np.ndarray, size: int) -> Iterator[_Batch]:
    """Yields all stories, those of a length together; in rows that fill a batch up nothing counts."""
    for rows_B, part in corpus.batches(size):
        width = part.tokens_NT.shape[1]
        groups_PBT = np.stack([take_rows(groups_NT, rows_B, width) for groups_NT in groups_PNT])
        counted_BT = take_rows(counted_NT, rows_B, width)
        yield _Batch(part.tokens_NT, part.segments_NT, counted_BT, groups_PBT, rows_B.astype(np.int32))


_Ends = dict[str, tuple[Extremes, Extremes]]


def _step(
    model: Model,
    units: Mapping[str, Units],
    num_groups: int,
    params: dict,
    weights: dict[str, Any],
    ends: _Ends,
    batch: _Batch,
) -> tuple[_Ends, dict[str, Sums]]:
    """Returns the extremes after a batch, and its sums."""
    sources = [one.source for one in units.values()]
    # Only what is used below is computed: without logits, or blocks above the highest source.
    seen = look(
        dataclasses.replace(model, params=params), batch.tokens_BT, batch.segments_BT, capture=sources
    )
    sums, kept = {}, {}
    for name, one in units.items():
        activation_BTF = one.read(weights[name], seen[one.source]).astype(jnp.float32)
        sums[name] = sum_up(activation_BTF, batch.counted_BT, batch.groups_PBT, num_groups)
        kept[name] = (
            keep_highest(ends[name][0], activation_BTF, batch.counted_BT, batch.story_B),
            keep_highest(ends[name][1], -activation_BTF, batch.counted_BT, batch.story_B),
        )
    return kept, sums
