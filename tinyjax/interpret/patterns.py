"""Where heads look, summed up over many stories: patterns are reduced where they are made, and never kept.

A query is a position that sees more than itself: all but the first of a story. Many heads rest on the first
token (here bos) when they find nothing (Xiao et al. 2023, section 3.1, call it a sink); what is summed
"beyond the first" leaves that source out.
Axes: B rows, T queries, S sources, H heads, D distances (0 is the query itself), C word classes.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tinyjax.config import ModelConfig
from tinyjax.interpret.capture import bare, look
from tinyjax.interpret.corpus import Corpus, WordClass
from tinyjax.model.attention import causal_segment_mask
from tinyjax.model.cached import is_local
from tinyjax.sample.model import Model

Array = Any  # of jax while summing up, float64 of NumPy afterwards


TINY = 1e-30  # so that 0 log 0 is 0


class Seen(NamedTuple):
    """What queries could look at, whatever heads do, summed over queries."""

    queries: Array  # []
    queries_C: Array  # by the class of the query's word
    pairs_D: Array  # queries that see so far
    beyond_D: Array  # ... and no first token there
    beyond_DCC: Array  # ... by classes [query's, source's]
    entropy: Array  # [] nats of attention that is spread evenly
    classes_CC: Array  # of the sources beyond the first, the share of each class [query's, source's]
    same_queries: Array  # [] queries whose token has occurred before
    same: Array  # [] of these, the share of the sources that are such occurrences
    induction_queries: Array  # [] queries with a source that followed their token before
    induction: Array  # [] of these, the share of the sources that did


class Looked(NamedTuple):
    """What heads took, summed over queries."""

    mass_HD: Array  # attention by distance
    beyond_HD: Array  # ... beyond the first
    square_H: Array  # squares of the attention of all pairs
    beyond_square_H: Array  # ... beyond the first
    source_square_H: (
        Array  # beyond the first, by source: the square of its attention's mean, times its queries
    )
    entropy_H: Array  # nats
    first_H: Array  # to the first token
    same_H: Array  # to earlier occurrences of the same token
    induction_H: Array  # to what followed earlier occurrences of the same token
    classes_HCC: Array  # beyond the first, by classes [query's, source's]


def sum_patterns(model: Model, stories: Corpus, batch: int) -> list[tuple[Seen, Looked]]:
    """Returns the sums over all stories for each block, in float64; D is the stories' width.

    Args:
      model: from `load_model`, or `bin.loading.load`.
      stories: from `corpus`.
      batch: stories at a time.
    """
    totals: Any = None
    for _, part in stories.batches(batch):
        sums = _sums(model.config, model.params, part.tokens_NT, part.segments_NT, part.tags_NT)
        sums = [_widened(*of_block, stories.tokens_NT.shape[1]) for of_block in sums]
        totals = sums if totals is None else jax.tree.map(np.add, totals, sums)
    return totals


def _widened(seen: Seen, looked: Looked, length: int) -> tuple[Seen, Looked]:
    """Returns sums in float64, with zeros for the distances that a batch of shorter stories doesn't have."""

    def widen(name: str, sums: jax.Array) -> np.ndarray:
        axes = name.rpartition("_")[2] if name[-1].isupper() else ""  # what the name says, as in mass_HD
        more = [(0, length - size if axis == "D" else 0) for axis, size in zip(axes, sums.shape, strict=True)]
        return np.pad(np.asarray(sums, np.float64), more) if more else np.asarray(sums, np.float64)

    of_seen = {name: widen(name, value) for name, value in seen._asdict().items()}
    return Seen(**of_seen), Looked(**{name: widen(name, value) for name, value in looked._asdict().items()})


@functools.partial(jax.jit, static_argnums=0)
def _sums(
    config: ModelConfig, params: dict, tokens_BT: jax.Array, segments_BT: jax.Array, tags_BT: jax.Array
) -> list[tuple[Seen, Looked]]:
    patterns = look(bare(config, params), tokens_BT, segments_BT, capture="*/pattern").activations
    query_BT = ((segments_BT > 0) & (jnp.arange(segments_BT.shape[1]) > 0)).astype(jnp.float32)
    tags_BTC = jax.nn.one_hot(tags_BT, len(WordClass))
    windows = [config.window if is_local(config, number) else None for number in range(config.num_layers)]
    visible = [causal_segment_mask(segments_BT, window) * query_BT[..., None] for window in windows]
    return [
        _sums_of_block(patterns[f"block{number}/pattern"], visible[number], query_BT, tokens_BT, tags_BTC)
        for number in range(config.num_layers)
    ]


def _sums_of_block(
    p_BHTS: jax.Array, visible_BTS: jax.Array, query_BT: jax.Array, tokens_BT: jax.Array, tags_BTC: jax.Array
) -> tuple[Seen, Looked]:
    other_BTC = tags_BTC.at[:, 0].set(0)
    same_BTS, induction_BTS = _same(tokens_BT) * visible_BTS, _induction(tokens_BT) * visible_BTS
    seen = _seen(visible_BTS, query_BT, same_BTS, induction_BTS, tags_BTC)

    def over_queries(of_queries_BHT: jax.Array) -> jax.Array:
        return jnp.einsum("bht,bt->h", of_queries_BHT, query_BT)

    p_HTS = (p_BHTS * query_BT[:, None, :, None]).sum(axis=0)
    mass_HD, first_HT = by_distance(p_HTS), p_HTS[..., 0]
    square_BHT = jnp.square(p_BHTS).sum(axis=3)
    seen_BS = visible_BTS.sum(axis=1)[:, 1:]
    mass_BHS = (p_BHTS * query_BT[:, None, :, None]).sum(axis=2)[..., 1:]
    return seen, Looked(
        mass_HD=mass_HD,
        beyond_HD=mass_HD - first_HT,  # the first token is as far back as the query's index
        square_H=over_queries(square_BHT),
        beyond_square_H=over_queries(square_BHT - jnp.square(p_BHTS[..., 0])),
        source_square_H=_share(jnp.square(mass_BHS), seen_BS[:, None]).sum(axis=(0, 2)),
        # On a CPU `entr` takes four times as long, and an einsum with masks nine times.
        entropy_H=over_queries(-(p_BHTS * jnp.log(p_BHTS + TINY)).sum(axis=3)),
        first_H=first_HT.sum(axis=1),
        same_H=(p_BHTS * same_BTS[:, None]).sum(axis=(0, 2, 3)),
        induction_H=(p_BHTS * induction_BTS[:, None]).sum(axis=(0, 2, 3)),
        classes_HCC=jnp.einsum(
            "btq,bhtc->hqc",
            tags_BTC * query_BT[..., None],
            jnp.einsum("bhts,bsc->bhtc", p_BHTS, other_BTC),
        ),
    )


def _seen(
    visible_BTS: jax.Array,
    query_BT: jax.Array,
    same_BTS: jax.Array,
    induction_BTS: jax.Array,
    tags_BTC: jax.Array,
) -> Seen:
    visible_BT, beyond_BTS = visible_BTS.sum(axis=2), visible_BTS.at[..., 0].set(0)
    share_BTC = _share(jnp.einsum("bts,bsc->btc", beyond_BTS, tags_BTC), beyond_BTS.sum(axis=2)[..., None])
    same_BT, induction_BT = same_BTS.sum(axis=2), induction_BTS.sum(axis=2)
    return Seen(
        queries=query_BT.sum(),
        queries_C=jnp.einsum("bt,btc->c", query_BT, tags_BTC),
        pairs_D=by_distance(visible_BTS.sum(axis=0)),
        beyond_D=by_distance(beyond_BTS.sum(axis=0)),
        beyond_DCC=_pairs_of_classes(query_BT[..., None] * tags_BTC)
        * (by_distance(beyond_BTS.sum(axis=0)) > 0)[:, None, None],
        entropy=jnp.log(jnp.maximum(visible_BT, 1)).sum(),
        classes_CC=jnp.einsum("btq,btc->qc", tags_BTC, share_BTC),
        same_queries=(same_BT > 0).sum(),
        same=_share(same_BT, visible_BT).sum(),
        induction_queries=(induction_BT > 0).sum(),
        induction=_share(induction_BT, visible_BT).sum(),
    )


def _pairs_of_classes(tags_BTC: jax.Array) -> jax.Array:
    """Returns the number of pairs by distance and classes, [D, C, C]: a correlation, by Fourier transform.

    What is a query is just what is a source beyond the first: all of a story but its first token.
    """
    length = tags_BTC.shape[1]
    tags_BFC = jnp.fft.rfft(tags_BTC, 2 * length, axis=1)
    product_FCC = jnp.einsum("bfq,bfc->fqc", tags_BFC, tags_BFC.conj())
    return jnp.round(jnp.fft.irfft(product_FCC, 2 * length, axis=0)[:length])


def _same(tokens_BT: jax.Array) -> jax.Array:
    """Tells which sources hold the query's token, earlier: [B, T, S]."""
    earlier_TS = jnp.tri(tokens_BT.shape[1], k=-1, dtype=bool)
    return (tokens_BT[:, :, None] == tokens_BT[:, None, :]) & earlier_TS


def _induction(tokens_BT: jax.Array) -> jax.Array:
    """Tells which earlier sources come next after an occurrence of the query's token: [B, T, S]."""
    follows_BTS = jnp.pad(_same(tokens_BT)[..., :-1], ((0, 0), (0, 0), (1, 0)))
    return follows_BTS & jnp.tri(tokens_BT.shape[1], k=-1, dtype=bool)


def _share(part: jax.Array, whole: jax.Array) -> jax.Array:
    return part / jnp.maximum(whole, 1)


def by_distance(pairs_xTS: jax.Array) -> jax.Array:
    """Returns the sums over pairs of the same distance between query and source: [..., T].

    Sources after the query must hold 0: rows are turned so that equal distances stand in a column.
    """
    length = pairs_xTS.shape[-1]
    turned = jnp.pad(jnp.flip(pairs_xTS, -1), [*[(0, 0)] * (pairs_xTS.ndim - 1), (0, 1)])
    columns = turned.reshape(*pairs_xTS.shape[:-2], length + 1, length).sum(axis=-2)
    return jnp.roll(columns, 1, axis=-1)
