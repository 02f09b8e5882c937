"""What each attention head does, over many stories, and what the model loses without it.

The paper (section 5.1) tells two kinds of heads apart by eye: distance-based ones, where each token attends
to tokens at a prescribed distance, and semantic ones, where articles attend to a thing or most words to the
protagonists. Here both are measured, and kinds that others found are added: heads that rest on the first
token (Xiao et al. 2023) or on punctuation (Clark et al. 2019), and induction heads, which look for what
came next the last time (Olsson et al. 2022).
Axes: L blocks, H heads, B rows, T positions, D distances, C word classes.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tinyjax.config import ModelConfig
from tinyjax.interpret.capture import bare, look
from tinyjax.interpret.corpus import Corpus, WordClass
from tinyjax.interpret.edits import Scale, apply
from tinyjax.interpret.patterns import Looked, Seen, sum_patterns
from tinyjax.model.decoder import (
    Layer,
    block,
    local_layers,
    logits,
    norm,
    rope_of,
    segment_positions,
    within_segments,
)
from tinyjax.model.loss import cross_entropy
from tinyjax.sample.model import Model

# A kind must hold for most of what a head does: half of its attention, or of what varies in it.
FIRST = 0.5
SAME = 0.5
EXPLAINED = 0.5
# Distance may choose a sentence, and what is in it the word: the paper expects "short-range interactions
# within a single sentence" of local heads. So 90 % of the attention within a sentence's tokens will do,
# where stories are longer: half of all pairs must be farther apart.
SENTENCE = 16
# On random tokens, which have no meaning and repeat at no fixed distance, the match is one of dozens of
# sources: by chance it gets a few percent, and a third is an order of magnitude above that.
INDUCTION = 1 / 3
# A class of words is what a head looks for, from all words or from those of another class (the paper: "the"
# and "a" attend to "banana"), if it gets half as much again as the head's distances alone would give it, a
# tenth of its attention more at least, and distance doesn't explain as much as a quarter. Fewer words tell
# nothing.
LIFT, EXCESS, UNEXPLAINED, FEW = 1.5, 0.1, 0.25, 100
MEANING = (WordClass.NAME, WordClass.NOUN, WordClass.VERB, WordClass.ADJECTIVE, WordClass.PRONOUN)

_RANDOM_ROWS, _RANDOM_LENGTH = 16, 48


@dataclasses.dataclass(frozen=True)
class Share:
    """A part of a head's attention, beside what would fall on the same sources without a preference."""

    share: float
    even: float  # if all that a query sees got the same


@dataclasses.dataclass(frozen=True)
class ClassShare(Share):
    """The part of attention beyond the first token that goes to words of a class."""

    distance: float  # if sources got what the head gives on average to their distance


@dataclasses.dataclass(frozen=True)
class Head:
    """What a head does; shares are means over queries, which are all positions but the first of a story."""

    layer: int
    head: int
    kind: str  # "induction", "first token", "same token", "local", "semantic", "punctuation" or "mixed"
    evidence: str  # why, in a sentence
    by_distance: tuple[float, ...]  # mean attention to the source so far back, of the queries that have one
    reach: tuple[int, int, int]  # distances within which 10, 50 and 90 % of attention beyond the first lie
    reach_even: tuple[int, int, int]  # ... within which these shares of all pairs lie
    explained: float  # share of the pattern's variance over pairs that the distance alone explains
    explained_beyond: float  # ... of pairs whose source is not the first token
    explained_source: float  # ... of the same pairs, the share that the source alone explains
    entropy: Share  # nats a query; `even` is that of attention spread evenly
    own: float  # attention to the query itself
    previous: float
    first: float
    same: Share  # to earlier occurrences of the query's token; of queries that have one
    induction: Share  # to what followed an earlier occurrence of the query's token; of queries that have one
    induction_random: Share  # ... on random tokens that are repeated
    classes: dict[str, ClassShare]  # by WordClass.name
    by_query: dict[str, dict[str, ClassShare]]  # ... of queries in words of the first class
    queries: dict[str, int]  # how many there are in words of each class


@dataclasses.dataclass(frozen=True)
class Removal:
    """What the model loses without a head."""

    layer: int
    head: int
    nats_per_token: float  # loss without it less loss with it
    standard_error: float  # over stories


def study(model: Model, stories: Corpus, batch: int = 4) -> list[Head]:
    """Returns what each head does, in the order of blocks and heads.

    Args:
      model: from `load_model`, or `bin.loading.load`.
      stories: from `corpus`.
      batch: stories at a time; the patterns of these are in memory at once.

    Raises:
      UserError: the model learns positions, and stories are longer than these.
    """
    real = sum_patterns(model, stories, batch)
    random = sum_patterns(model, repeated(model, stories), batch)
    return [
        _head(layer, head, *real[layer], _induction(*random[layer], head))
        for layer in range(model.config.num_layers)
        for head in range(model.config.num_heads)
    ]


def _head(layer: int, head: int, seen: Seen, looked: Looked, random: Share) -> Head:
    own = Looked(*(value[head] for value in looked))
    mass_D, queries = own.mass_HD, max(float(seen.queries), 1.0)
    facts: dict[str, Any] = {
        "by_distance": tuple(_ratio(mass_D, seen.pairs_D).tolist()),
        "reach": _reach(own.beyond_HD),
        "reach_even": _reach(seen.beyond_D),
        "explained": _explained(mass_D, seen.pairs_D, own.square_H),
        "explained_beyond": _explained(own.beyond_HD, seen.beyond_D, own.beyond_square_H),
        "explained_source": _explained_share(
            own.source_square_H, own.beyond_HD, seen.beyond_D, own.beyond_square_H
        ),
        "entropy": Share(float(own.entropy_H / queries), float(seen.entropy / queries)),
        "own": float(mass_D[0] / queries),
        "previous": float(mass_D[1] / queries),
        "first": float(own.first_H / queries),
        "same": _share(own.same_H, seen.same, seen.same_queries),
        "induction": _induction(seen, looked, head),
        "induction_random": random,
        "classes": _classes(seen, own),
        "by_query": _by_query(seen, own),
        "queries": {kind.name: int(seen.queries_C[kind]) for kind in WordClass},
    }
    undecided = Head(layer, head, "", "", **facts)
    kind, evidence = classify(undecided)
    return dataclasses.replace(undecided, kind=kind, evidence=evidence)


def classify(head: Head) -> tuple[str, str]:
    """Returns the kind of a head and the evidence, by the thresholds above; the first that holds counts."""
    matched, same = head.induction_random, head.same
    if matched.share >= INDUCTION:
        return "induction", (
            f"on random tokens that are repeated, {matched.share:.0%} of its attention goes to what followed "
            f"the last time (evenly: {matched.even:.1%})"
        )
    if head.first >= FIRST:
        return "first token", f"{head.first:.0%} of its attention rests on the first token"
    if same.share >= SAME:
        return "same token", (
            f"{same.share:.0%} of its attention goes to earlier occurrences of the token (evenly: "
            f"{same.even:.1%})"
        )
    if head.explained_beyond >= EXPLAINED or head.reach[2] <= min(SENTENCE, head.reach_even[1]):
        return "local", _by_distance_alone(head)
    return _by_class(head)


def _by_distance_alone(head: Head) -> str:
    low, middle, high = head.reach
    return (
        f"90 % of its attention lies at most {high} tokens back, half at most {middle}, a tenth at most {low}"
        f"; distance alone explains {head.explained_beyond:.0%} of the variance"
    )


def _by_class(head: Head) -> tuple[str, str]:
    """Returns the kind of a head whose distances don't tell, by the classes of words that it favours."""
    evidence = (
        f"half of its attention lies at most {head.reach[1]} tokens back; distance alone explains "
        f"{head.explained_beyond:.0%} of the variance; "
    )
    for kind, classes in (("semantic", MEANING), ("punctuation", (WordClass.PUNCTUATION,))):
        favoured = [text for name in classes for text in _favours(head, name.name)]
        if favoured and head.explained_beyond < UNEXPLAINED:
            return kind, evidence + ", ".join(favoured)
    return "mixed", evidence + "no class of words stands out at that"


def _favours(head: Head, source: str) -> list[str]:
    """Returns who favours words of a class, with the figures."""
    others = [kind.name for kind in WordClass if kind.name not in ("OTHER", source)]
    found = {"all words": head.classes[source]} | {
        name: head.by_query[name][source] for name in others if head.queries[name] >= FEW
    }
    texts = {
        query: f"{query} look at {source} for {part.share:.0%} (by distance: {part.distance:.0%})"
        for query, part in found.items()
        if part.share - part.distance >= max(EXCESS, (LIFT - 1) * part.distance)
    }
    return [texts["all words"]] if "all words" in texts else list(texts.values())


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _share(share: np.ndarray, even: np.ndarray, queries: np.ndarray) -> Share:
    return Share(float(_ratio(share, queries)), float(_ratio(even, queries)))


def _induction(seen: Seen, looked: Looked, head: int) -> Share:
    return _share(looked.induction_H[head], seen.induction, seen.induction_queries)


def _explained(sum_D: np.ndarray, pairs_D: np.ndarray, squares: np.ndarray) -> float:
    return _explained_share(_ratio(sum_D**2, pairs_D).sum(), sum_D, pairs_D, squares)


def _explained_share(
    between: np.ndarray, sum_D: np.ndarray, pairs_D: np.ndarray, squares: np.ndarray
) -> float:
    """Returns the variance between groups of pairs as a share of that between pairs (eta squared).

    Args:
      between: over groups, the square of their mean times their size.
      sum_D: sums of all pairs, in any parts.
      pairs_D: their numbers.
      squares: the sum of all pairs' squares.
    """
    of_mean = sum_D.sum() ** 2 / max(pairs_D.sum(), 1)
    total = float(squares - of_mean)
    return min(max(float(between - of_mean) / total, 0.0), 1.0) if total > 1e-9 * float(squares) else 0.0


def _reach(sum_D: np.ndarray) -> tuple[int, int, int]:
    cumulative_D = np.cumsum(sum_D)
    low, middle, high = (
        int(np.argmax(cumulative_D >= share * cumulative_D[-1])) for share in (0.1, 0.5, 0.9)
    )
    return low, middle, high


def _classes(seen: Seen, looked: Looked) -> dict[str, ClassShare]:
    whole = looked.beyond_HD.sum()
    share_C = _ratio(looked.classes_HCC.sum(axis=0), whole)
    even_C = _ratio(seen.classes_CC.sum(axis=0), seen.queries)
    distance_C = _ratio(_ratio(looked.beyond_HD, seen.beyond_D) @ seen.beyond_DCC.sum(axis=1), whole)
    return {
        kind.name: ClassShare(float(share_C[kind]), float(even_C[kind]), float(distance_C[kind]))
        for kind in WordClass
    }


def _by_query(seen: Seen, looked: Looked) -> dict[str, dict[str, ClassShare]]:
    share_CC, distance_CC = (
        _ratio(mass_CC, mass_CC.sum(axis=1, keepdims=True))
        for mass_CC in (
            looked.classes_HCC,
            np.einsum("d,dqc->qc", _ratio(looked.beyond_HD, seen.beyond_D), seen.beyond_DCC),
        )
    )
    even_CC = _ratio(seen.classes_CC, seen.queries_C[:, None])
    return {
        query.name: {
            source.name: ClassShare(
                *(float(x_CC[query, source]) for x_CC in (share_CC, even_CC, distance_CC))
            )
            for source in WordClass
        }
        for query in WordClass
    }


def repeated(model: Model, stories: Corpus) -> Corpus:
    """Returns rows of the stories' tokens in random order, each row said twice; always the same rows.

    Rows repeat after different numbers of tokens, so that no fixed distance finds the match.
    """
    known = np.unique(stories.tokens_NT[:, 1:][stories.segments_NT[:, 1:] > 0])
    length = min(_RANDOM_LENGTH, len(known), (model.config.context_length - 1) // 2)
    rng = np.random.default_rng(0)
    tokens_NT = np.zeros((_RANDOM_ROWS, 1 + 2 * length), np.int32)
    segments_NT = np.zeros_like(tokens_NT)
    for row, own in enumerate(np.linspace(max(length // 2, 1), length, _RANDOM_ROWS).astype(int)):
        tokens_NT[row, 0] = stories.tokens_NT[0, 0]
        tokens_NT[row, 1 : 1 + 2 * own] = np.tile(rng.permutation(known)[:own], 2)
        segments_NT[row, : 1 + 2 * own] = 1
    targets_NT = np.roll(tokens_NT, -1, axis=1)
    nothing_NT = np.zeros_like(tokens_NT)
    return Corpus(
        ("",) * _RANDOM_ROWS, tokens_NT, targets_NT, segments_NT, nothing_NT.astype(np.int8), nothing_NT
    )


def attention_maps(model: Model, stories: Corpus, row: int) -> np.ndarray:
    """Returns where each head looks in one story: float32 [L, H, T, S], without padding."""
    # The whole row, so that one program serves stories of all lengths.
    tokens_1T, segments_1T = stories.tokens_NT[row : row + 1], stories.segments_NT[row : row + 1]
    patterns = look(model, tokens_1T, segments_1T, capture="*/pattern").activations.values()
    length = int(np.count_nonzero(segments_1T))
    return np.stack([np.asarray(p_BHTS[0, :, :length, :length]) for p_BHTS in patterns])


def removals(model: Model, stories: Corpus, batch: int = 8) -> list[Removal]:
    """Returns what the model loses without each head, in the order of blocks and heads.

    One program serves all heads.

    Args:
      model: from `load_model`, or `bin.loading.load`.
      stories: from `corpus`.
      batch: stories at a time.
    """
    config = model.config
    which = [(layer, head) for layer in range(config.num_layers) for head in range(config.num_heads)]
    nats_RN = np.zeros(
        (1 + len(which), len(stories.texts) + 1)
    )  # of all heads, then without each; padding last
    for rows_B, part in stories.batches(batch):
        arrays = (part.tokens_NT, part.targets_NT, part.segments_NT)
        x_LBTD = _before_blocks(config, model.params, part.tokens_NT, part.segments_NT)
        every_H = np.ones(config.num_heads, np.float32)
        nats_RN[0, rows_B] = _nats(config, model.params, arrays, x_LBTD[-1], config.num_layers - 1, every_H)
        for row, (layer, head) in enumerate(which, 1):
            others_H = np.arange(config.num_heads) != head
            nats_RN[row, rows_B] = _nats(config, model.params, arrays, x_LBTD[layer], layer, others_H)
    change_RN, tokens_N = (nats_RN[1:] - nats_RN[0])[:, :-1], np.count_nonzero(stories.segments_NT, axis=1)
    return [
        Removal(*one, *_mean_change(change_N, tokens_N))
        for one, change_N in zip(which, change_RN, strict=True)
    ]


@functools.partial(jax.jit, static_argnums=0)
def _before_blocks(
    config: ModelConfig, params: dict, tokens_BT: jax.Array, segments_BT: jax.Array
) -> list[jax.Array]:
    """Returns the residual stream before each block: [B, T, D] each."""
    seen = look(bare(config, params), tokens_BT, segments_BT, capture="*/residual")
    return list(seen.activations.values())


@functools.partial(jax.jit, static_argnums=0)
def _nats(
    config: ModelConfig,
    params: dict,
    part: tuple[jax.Array, jax.Array, jax.Array],
    x_BTD: jax.Array,
    first: jax.Array,
    factor_H: jax.Array,
) -> jax.Array:
    """Returns the loss of each story with the heads of a block scaled, in nats: float32 [B].

    Args:
      config: the model's.
      params: the model's.
      part: tokens, targets and segments, [B, T] each.
      x_BTD: the residual stream before that block; those before it needn't be run again.
      first: which block it is. All are run by one program, a block at a time.
      factor_H: what its heads are multiplied with.
    """
    _, targets_BT, segments_BT = part
    rope, local_L = rope_of(config, segment_positions(segments_BT)), local_layers(config)

    def step(number: jax.Array, x_BTD: jax.Array) -> jax.Array:
        layer = Layer(*jax.tree.map(lambda x: x[number], (params["layers"], local_L)), None)
        attend = functools.partial(within_segments, config, segments_BT, layer.local)
        scale = Scale(jnp.where(number == first, factor_H, 1)[:, None])
        return block(config, layer, x_BTD, rope, attend, functools.partial(_scaled, scale))[0]

    x_BTD = jax.lax.fori_loop(first, config.num_layers, step, x_BTD)
    logits_BTV = logits(config, params, norm(config, params, "final_norm", x_BTD))
    return jnp.where(segments_BT > 0, cross_entropy(logits_BTV, targets_BT), 0).sum(axis=1)


def _scaled(scale: Scale, name: str, activation: jax.Array) -> jax.Array:
    return apply(scale, activation) if name == "heads" else activation


def _mean_change(change_N: np.ndarray, tokens_N: np.ndarray) -> tuple[float, float]:
    """Returns nats/token and its standard error over stories, that of a ratio of means (linearised)."""
    ratio, count = change_N.sum() / tokens_N.sum(), len(change_N)
    squares = float(np.sum((change_N - ratio * tokens_N) ** 2))
    return float(ratio), math.sqrt(count / max(count - 1, 1) * squares) / int(tokens_N.sum())
