"""What each neuron of each block fires on, and what it writes (section 5.2 of the paper).

A neuron's sign says which end of it is told of: the one whose top tokens are farther from 0. With GELU it is
the upper one, as in the paper; with SwiGLU, a product of two numbers of either sign, it may be the lower.
The first token of a row, bos, is no text, the same in all stories, and left out of everything.

Selectivity is how much more often than tokens anywhere a neuron's top tokens, one of a story, share a role:
0 is as often, 1 is always. Roles (`tinyjax.interpret.roles`) are word classes, places in the story, the
introduction of the protagonist (the first name of a story), and single words. All are of the text, not of the
tokenizer, so that models can be compared on the same stories.
Axes: B stories, T positions, F neurons, K kept tokens, G groups of tokens, D d_model, V vocabulary.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tinyjax.interpret.activity import Activity, Extremes, Units, gather
from tinyjax.interpret.corpus import Corpus
from tinyjax.interpret.passages import find_passages
from tinyjax.interpret.roles import GROUPS, KINDS, Role, Roles, find_roles
from tinyjax.sample.model import Model

_DEAD = 0.01
_SHOWN = 8  # tokens that a neuron writes for, and against
_AT_ONCE = 256  # neurons whose effect on all logits is in memory
CLEAR = 0.8  # selectivity from which on a role is counted as clear


@dataclasses.dataclass(frozen=True)
class Top:
    """A token that a neuron is strong on, in its sentence."""

    story: int
    position: int
    before: str
    token: str
    after: str
    activation: float


@dataclasses.dataclass(frozen=True)
class Neuron:
    """A neuron, or a feature of a dictionary."""

    index: int
    dead: bool  # it hardly moves, see `describe`
    sign: int  # 1, or -1 where top tokens, role and what it writes are of its lower end
    mean: float
    deviation: float
    highest: float
    lowest: float
    active: float  # share of tokens on which it is not 0
    histogram: tuple[int, ...]  # tokens below the first of activity.EDGES, between them, and above the last
    top: tuple[Top, ...]  # the strongest first, one of a story at most, and none on which it is not beyond 0
    role: Role | None  # the one that explains top tokens best; None where it is dead
    means: dict[str, dict[str, float]]  # mean activation by kind of roles and group; no token, no group
    explained: dict[str, float]  # the share of its variance that lies between the groups, by kind
    promotes: tuple[tuple[str, float], ...]  # tokens it writes for, the first the most; see `written`
    suppresses: tuple[tuple[str, float], ...]


@dataclasses.dataclass(frozen=True)
class Layer:
    """The neurons of a block, or the features of a dictionary."""

    name: str
    tokens: int
    neurons: tuple[Neuron, ...]
    duplicates: tuple[tuple[int, int, float], ...]  # pairs and their correlation; none sought in wide layers
    kept: int  # top tokens at most
    chance: float  # the selectivity of as many random tokens


@dataclasses.dataclass(frozen=True)
class Summary:
    """Some layers in a few figures, by which models can be compared."""

    neurons: int
    dead: int
    in_duplicates: int  # neurons of which there is another
    rare: int  # with fewer top tokens than are kept, so that what they share says little
    selectivity: float  # mean over the others
    chance: float  # what random tokens have
    clear: float  # share of the others whose selectivity is at least CLEAR
    clear_roles: dict[str, int]  # of these, by kind of role


def neurons(
    model: Model, corpus: Corpus, *, keep: int = 20, batch_size: int = 16, correlation: float = 0.95
) -> tuple[Layer, ...]:
    """Describes all neurons of a model by what they do over a corpus.

    Args:
      model: from `load_model`, or `bin.loading.load`.
      corpus: stories, one a row: 20 as in the paper, or thousands.
      keep: top tokens of each neuron.
      batch_size: stories in memory at a time.
      correlation: from which on, either way, two neurons of a block are duplicates.
    """
    names = [f"block{number}/neurons" for number in range(model.config.num_layers)]
    units = {name: Units(name, model.config.d_ff, as_they_are) for name in names}
    writes = dict(zip(names, np.asarray(model.params["layers"]["down"]), strict=True))
    return describe(model, corpus, units, writes, keep=keep, batch_size=batch_size, correlation=correlation)


def as_they_are(weights: None, activation_BTF: jax.Array) -> jax.Array:
    """Returns the activation."""
    del weights
    return activation_BTF


def describe(
    model: Model,
    corpus: Corpus,
    units: Mapping[str, Units],
    writes: Mapping[str, np.ndarray],
    *,
    keep: int = 20,
    batch_size: int = 16,
    correlation: float = 0.95,
) -> tuple[Layer, ...]:
    """Describes any units; see `neurons`.

    One is dead if what it adds to the residual stream never differs from its mean by more than 1 % of what is
    usual in its layer: the root mean square, over units, of the greatest difference.

    Args:
      model: from `load_model`, or `bin.loading.load`.
      corpus: stories, one a row.
      units: where they are read from, by name.
      writes: float32 [F, D], what each adds to the residual stream, by the same names.
      keep: top tokens of each.
      batch_size: stories in memory at a time.
      correlation: from which on two are duplicates.
    """
    roles, keep = find_roles(find_passages(corpus)), min(keep, len(corpus.texts))
    chance = roles.chance(keep)
    arguments = model, corpus, units, roles.counted_NT, roles.groups_PNT, len(GROUPS)
    found = gather(*arguments, keep=keep, batch_size=batch_size)
    return tuple(
        _layer(model, name, activity, writes[name], roles, correlation, chance)
        for name, activity in found.items()
    )


def summarise(layers: Sequence[Layer]) -> Summary:
    """Returns the figures of some layers together."""
    every = [(neuron, layer.kept) for layer in layers for neuron in layer.neurons]
    live = [(neuron.role, len(neuron.top) < kept) for neuron, kept in every if neuron.role is not None]
    roles = [role for role, rare in live if not rare]
    clear = [role.kind for role in roles if role.selectivity >= CLEAR]
    return Summary(
        neurons=len(every),
        dead=len(every) - len(live),
        in_duplicates=sum(len({i for a, b, _ in layer.duplicates for i in (a, b)}) for layer in layers),
        rare=len(live) - len(roles),
        selectivity=float(np.mean([role.selectivity for role in roles] or [0.0])),
        chance=float(np.mean([layer.chance for layer in layers])),
        clear=len(clear) / max(len(roles), 1),
        clear_roles={kind: clear.count(kind) for kind in ("word", *KINDS)},
    )


def written(model: Model, writes_FD: np.ndarray, count: int = _SHOWN) -> tuple[np.ndarray, np.ndarray]:
    """Returns the tokens that directions in the residual stream raise most, and by how much: [F, count].

    It is the direct way, through the final norm's scale and the output head, against the mean over the
    vocabulary. The norm also divides by the size of the stream: values are in proportion only.
    """
    params, config = model.params, model.config
    head_VD = params["embedding" if config.tie_embeddings else "head"][: model.tokenizer.vocab_size]

    @jax.jit
    def of_some(writes_FD: jax.Array) -> tuple[jax.Array, jax.Array]:
        if "final_norm_bias" in params:  # LayerNorm takes the mean off
            writes_FD -= writes_FD.mean(axis=1, keepdims=True)
        logit_FV = jnp.einsum("fd,vd->fv", writes_FD * params["final_norm"], head_VD, precision="highest")
        return jax.lax.top_k(logit_FV - logit_FV.mean(axis=1, keepdims=True), count)

    parts = [of_some(writes_FD[start : start + _AT_ONCE]) for start in range(0, len(writes_FD), _AT_ONCE)]
    values, tokens = zip(*jax.device_get(parts), strict=True)
    return np.concatenate(tokens), np.concatenate(values)


def _layer(
    model: Model,
    name: str,
    activity: Activity,
    writes_FD: np.ndarray,
    roles: Roles,
    correlation: float,
    chance: float,
) -> Layer:
    moments = _moments(activity, roles)
    sign_F = _signs(activity)
    dead_F = _dead(activity, moments.mean_F, writes_FD)
    ends = _strong_ends(activity, sign_F)
    role_F = dict(zip(*_best_roles(roles, ends, ~dead_F), strict=True))
    count = min(_SHOWN, model.tokenizer.vocab_size)
    promoted, suppressed = (written(model, s * sign_F[:, None] * writes_FD, count) for s in (1, -1))
    described = tuple(
        Neuron(
            index=index,
            dead=bool(dead_F[index]),
            sign=int(sign_F[index]),
            mean=float(moments.mean_F[index]),
            deviation=float(np.sqrt(moments.variance_F[index])),
            highest=float(activity.highest.value_FK[index, 0]),
            lowest=-float(activity.lowest.value_FK[index, 0]),
            active=float(activity.sums.active_F[index] / activity.tokens),
            histogram=tuple(activity.sums.bins_EF[:, index].astype(int).tolist()),
            top=_top(roles, ends, index, int(sign_F[index])),
            role=role_F.get(index),
            means=_means(moments.group_GF[:, index], roles),
            explained={kind: float(share_F[index]) for kind, share_F in moments.explained.items()},
            promotes=_texts(model, promoted, index, 1),
            suppresses=_texts(model, suppressed, index, -1),
        )
        for index in range(len(writes_FD))
    )
    pairs = duplicates(activity, moments.mean_F, ~dead_F, correlation)
    return Layer(name, activity.tokens, described, pairs, ends.value_FK.shape[1], chance)


@dataclasses.dataclass(frozen=True)
class _Moments:
    """Means and variances of the activations of a layer."""

    mean_F: Any
    variance_F: Any
    group_GF: Any  # means by group; 0 where it is empty
    explained: dict[str, np.ndarray]


def _moments(activity: Activity, roles: Roles) -> _Moments:
    slices = {kind: [g for g, (of, _) in enumerate(GROUPS) if of == kind] for kind in KINDS}
    total_F = activity.sums.group_GF[slices["word class"]].sum(axis=0)
    mean_F = total_F / activity.tokens
    variance_F = np.maximum(activity.sums.square_F / activity.tokens - mean_F**2, 0.0)
    group_GF = activity.sums.group_GF / np.maximum(roles.count_G, 1)[:, None]
    between_GF = roles.count_G[:, None] * np.square(group_GF - mean_F) / activity.tokens
    whole_F = np.maximum(variance_F, np.finfo(np.float32).tiny)
    explained = {kind: between_GF[of].sum(axis=0) / whole_F for kind, of in slices.items()}
    return _Moments(mean_F, variance_F, group_GF, explained)


def _means(group_G: np.ndarray, roles: Roles) -> dict[str, dict[str, float]]:
    means: dict[str, dict[str, float]] = {kind: {} for kind in KINDS}
    for (kind, group), mean, count in zip(GROUPS, group_G, roles.count_G, strict=True):
        if count:
            means[kind][group] = float(mean)
    return means


def _signs(activity: Activity) -> np.ndarray:
    """Returns 1 for each unit, or -1 where the mean of its lowest tokens is farther from 0."""
    upper_F, lower_F = (
        np.where(np.isfinite(end.value_FK), end.value_FK, 0).sum(axis=1)
        for end in (activity.highest, activity.lowest)
    )
    return np.where(lower_F > upper_F, -1, 1)


def _strong_ends(activity: Activity, sign_F: np.ndarray) -> Extremes:
    pairs = zip(activity.highest, activity.lowest, strict=True)
    return Extremes(*(np.where(sign_F[:, None] > 0, upper, lower) for upper, lower in pairs))


def _best_roles(roles: Roles, ends: Extremes, live_F: np.ndarray) -> tuple[list[int], list[Role]]:
    """Returns the units that are not dead, and their roles."""
    value_FK, story_FK, position_FK = (column_FK[live_F] for column_FK in ends)
    return np.flatnonzero(live_F).tolist(), roles.best(story_FK, position_FK, value_FK > 0)


def _dead(activity: Activity, mean_F: np.ndarray, writes_FD: np.ndarray) -> np.ndarray:
    above_F = activity.highest.value_FK[:, 0] - mean_F
    below_F = activity.lowest.value_FK[:, 0] + mean_F
    reach_F = np.maximum(above_F, below_F) * np.linalg.norm(writes_FD, axis=1)
    return reach_F <= _DEAD * np.sqrt(np.mean(np.square(reach_F)))


def duplicates(
    activity: Activity, mean_F: np.ndarray, live_F: np.ndarray, correlation: float
) -> tuple[tuple[int, int, float], ...]:
    """Returns the pairs of live units that go together, or against each other, and how much."""
    if activity.sums.product_FF is None:
        return ()
    covariance_FF = activity.sums.product_FF / activity.tokens - np.outer(mean_F, mean_F)
    deviation_F = np.sqrt(np.maximum(np.diag(covariance_FF), np.finfo(np.float32).tiny))
    correlation_FF = covariance_FF / np.outer(deviation_F, deviation_F)
    is_pair_FF = np.triu(np.abs(correlation_FF) >= correlation, k=1) & np.outer(live_F, live_F)
    return tuple(
        (int(i), int(j), float(correlation_FF[i, j])) for i, j in zip(*np.nonzero(is_pair_FF), strict=True)
    )


def _top(roles: Roles, ends: Extremes, index: int, sign: int) -> tuple[Top, ...]:
    rows = zip(*(np.asarray(column_FK)[index].tolist() for column_FK in ends), strict=True)
    return tuple(
        Top(story, position, *roles.passages.show(story, position), sign * value)
        for value, story, position in rows
        if value > 0
    )


def _texts(
    model: Model, found: tuple[np.ndarray, np.ndarray], index: int, sign: int
) -> tuple[tuple[str, float], ...]:
    tokens, values = (column[index].tolist() for column in found)
    texts = [model.tokenizer.decode([token], start=False) for token in tokens]
    return tuple((text, sign * value) for text, value in zip(texts, values, strict=True))
