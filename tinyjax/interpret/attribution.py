"""What moved a logit: the model's predictions after each block, and what each head and neuron added directly.

The residual stream is a sum, and the final norm, with the scale that it took, is linear in it (Elhage et
al. 2021 read transformers so). So a logit is the sum of what the embedding, each head, each neuron and each
bias wrote, times one direction. That is the direct effect; what later blocks made of it is in their parts.
Axes: L blocks, B rows, T positions, H heads, F neurons, D d_model, V vocabulary, N likeliest tokens.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tinyjax.config import ModelConfig
from tinyjax.interpret.capture import Seen, bare, look
from tinyjax.interpret.corpus import Corpus
from tinyjax.interpret.edits import Scale
from tinyjax.model.decoder import logits, norm
from tinyjax.model.loss import cross_entropy
from tinyjax.sample.model import Model


class Lens(NamedTuple):
    """The predictions read off the residual stream, through the final norm and the head (the logit lens).

    R readings: of the embedding, and after each block; the last is the model's own.
    """

    tokens_RBTN: jax.Array  # int32: the likeliest next tokens, the likeliest first
    probabilities_RBTN: jax.Array  # float32
    right_RBT: jax.Array  # float32: the probability of the right next token


class Attribution(NamedTuple):
    """What was added to the logits of the targets, float32.

    All parts sum up to the logit, but for what the model's own dtype rounds.
    """

    logit_BT: jax.Array
    embedding_BT: jax.Array  # of the token, and of the position where the model learns these
    heads_LBTH: jax.Array
    neurons_LBTF: jax.Array
    attention_bias_LBT: jax.Array
    mlp_bias_LBT: jax.Array
    norm_bias_BT: jax.Array  # of the final norm

    def total_BT(self) -> jax.Array:  # noqa: N802 (the shape)
        """Returns the sum of all parts."""
        heads_BT, neurons_BT = self.heads_LBTH.sum(axis=(0, 3)), self.neurons_LBTF.sum(axis=(0, 3))
        biases_BT = self.attention_bias_LBT.sum(axis=0) + self.mlp_bias_LBT.sum(axis=0) + self.norm_bias_BT
        return self.embedding_BT + heads_BT + neurons_BT + biases_BT


@dataclasses.dataclass(frozen=True)
class Part:
    """What one part of the model added to a logit."""

    kind: str  # "head" or "neuron"
    layer: int
    number: int
    effect: float


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How direct effects of the heads of a block go with what their removal does to the same logits."""

    layer: int
    correlation: float  # Pearson's, over heads and positions
    direct: float  # mean size of the direct effects
    removal: float  # mean size of the change without the head
    count: int


def lens(
    model: Model,
    tokens_BT: np.ndarray,
    targets_BT: np.ndarray,
    segments_BT: np.ndarray | None = None,
    count: int = 5,
) -> Lens:
    """Returns the likeliest `count` tokens after each block, and the probability of the right one.

    Args:
      model: from `load_model`, or `bin.loading.load`.
      tokens_BT: int32 token ids.
      targets_BT: int32 right next tokens.
      segments_BT: stories packed side by side, numbered; default: one a row.
      count: likeliest tokens to tell.
    """
    return _lens(model.config, count, model.params, tokens_BT, targets_BT, _whole(tokens_BT, segments_BT))


def lens_losses(model: Model, stories: Corpus, batch: int = 8) -> list[float]:
    """Returns the loss of the predictions of the embedding and after each block, in nats/token."""
    nats_R = np.zeros(model.config.num_layers + 1)
    for _, part in stories.batches(batch):
        arrays = (part.tokens_NT, part.targets_NT, part.segments_NT)
        nats_R += np.asarray(_lens_nats(model.config, model.params, *arrays), np.float64)
    return (nats_R / stories.num_tokens).tolist()


def attribute(
    model: Model, tokens_BT: np.ndarray, targets_BT: np.ndarray, segments_BT: np.ndarray | None = None
) -> Attribution:
    """Returns what each part of the model added to the logit of each position's target.

    Args: as of `lens`; a target may be any token, such as the one that was nearly said.
    """
    return _attribute(model.config, model.params, tokens_BT, targets_BT, _whole(tokens_BT, segments_BT))


def strongest(found: Attribution, row: int, position: int, count: int = 10) -> list[Part]:
    """Returns the heads and neurons that moved a logit most, up or down, the strongest first."""
    parts = [
        Part(kind, layer, number, float(effect))
        for kind, effects_LBTX in (("head", found.heads_LBTH), ("neuron", found.neurons_LBTF))
        for (layer, number), effect in np.ndenumerate(np.asarray(effects_LBTX[:, row, position]))
    ]
    return sorted(parts, key=lambda part: -abs(part.effect))[:count]


def check_by_removal(model: Model, stories: Corpus, batch: int = 8) -> list[Agreement]:
    """Compares direct effects of heads on the right tokens' logits with what their removal changes.

    They agree where later blocks make little of what a head wrote: best, as a rule, in the last block, where
    only its MLP and the final norm's scale come after.
    """
    parts = [_effects(model, part) for _, part in stories.batches(batch)]
    direct_LHX, removal_LHX = (np.concatenate(column, axis=2) for column in zip(*parts, strict=True))
    return [
        Agreement(
            layer,
            correlation(direct_HX.ravel(), removal_HX.ravel()),
            float(np.abs(direct_HX).mean()),
            float(np.abs(removal_HX).mean()),
            direct_HX.size,
        )
        for layer, (direct_HX, removal_HX) in enumerate(zip(direct_LHX, removal_LHX, strict=True))
    ]


def correlation(a_X: np.ndarray, b_X: np.ndarray) -> float:
    """Returns Pearson's correlation; 0 where one of the two doesn't vary."""
    a_X, b_X = a_X - a_X.mean(), b_X - b_X.mean()
    size = float(np.sqrt((a_X**2).sum() * (b_X**2).sum()))
    return float((a_X * b_X).sum()) / size if size else 0.0


def _effects(model: Model, part: Corpus) -> tuple[np.ndarray, np.ndarray]:
    """Returns direct effects and changes by removal of a batch's positions, float64 [L, H, X] each."""
    config, counted = model.config, part.segments_NT > 0
    arrays = (part.tokens_NT, part.targets_NT, part.segments_NT)
    direct_LBTH = np.asarray(attribute(model, *arrays).heads_LBTH, np.float64)
    keep_LH = np.ones((config.num_layers, config.num_heads), np.float32)
    with_BT = np.asarray(_right_logits(config, model.params, *arrays, keep_LH), np.float64)
    removal = np.zeros((config.num_layers, config.num_heads, np.count_nonzero(counted)))
    for layer, head in np.ndindex(keep_LH.shape):
        without_LH = keep_LH.copy()
        without_LH[layer, head] = 0
        without_BT = np.asarray(_right_logits(config, model.params, *arrays, without_LH), np.float64)
        removal[layer, head] = (with_BT - without_BT)[counted]
    return np.moveaxis(direct_LBTH[:, counted], 2, 1), removal


def _whole(tokens_BT: np.ndarray, segments_BT: np.ndarray | None) -> np.ndarray:
    return np.ones(tokens_BT.shape, np.int32) if segments_BT is None else segments_BT


def _states(config: ModelConfig, params: dict, tokens_BT: jax.Array, segments_BT: jax.Array) -> jax.Array:
    """Returns the residual stream before each block and after the last: [R, B, T, D]."""
    last = f"block{config.num_layers - 1}/"
    captured = ["block*/residual", last + "middle", last + "mlp"]
    seen = look(bare(config, params), tokens_BT, segments_BT, capture=captured)
    before = [seen[f"block{number}/residual"] for number in range(config.num_layers)]
    return jnp.stack([*before, seen[last + "middle"] + seen[last + "mlp"]])


def _read(config: ModelConfig, params: dict, x_BTD: jax.Array) -> jax.Array:
    return logits(config, params, norm(config, params, "final_norm", x_BTD))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _lens(
    config: ModelConfig,
    count: int,
    params: dict,
    tokens_BT: jax.Array,
    targets_BT: jax.Array,
    segments_BT: jax.Array,
) -> Lens:
    def reading(x_BTD: jax.Array) -> Lens:
        p_BTV = jax.nn.softmax(_read(config, params, x_BTD))
        values_BTN, tokens_BTN = jax.lax.top_k(p_BTV, count)
        return Lens(tokens_BTN, values_BTN, jnp.take_along_axis(p_BTV, targets_BT[..., None], -1)[..., 0])

    # One reading's logits are in memory at a time.
    return jax.lax.map(reading, _states(config, params, tokens_BT, segments_BT))


@functools.partial(jax.jit, static_argnums=0)
def _lens_nats(
    config: ModelConfig, params: dict, tokens_BT: jax.Array, targets_BT: jax.Array, segments_BT: jax.Array
) -> jax.Array:
    """Returns the loss of each reading, in nats: float32 [R]."""

    def nats(x_BTD: jax.Array) -> jax.Array:
        nll_BT = cross_entropy(_read(config, params, x_BTD), targets_BT)
        return jnp.where(segments_BT > 0, nll_BT, 0).sum()

    return jax.lax.map(nats, _states(config, params, tokens_BT, segments_BT))


@functools.partial(jax.jit, static_argnums=0)
def _right_logits(
    config: ModelConfig,
    params: dict,
    tokens_BT: jax.Array,
    targets_BT: jax.Array,
    segments_BT: jax.Array,
    factor_LH: jax.Array,
) -> jax.Array:
    """Returns the logits of targets with heads scaled, float32 [B, T]."""
    edits = {f"block{layer}/heads": Scale(factor_LH[layer][:, None]) for layer in range(config.num_layers)}
    return _of_targets(look(bare(config, params), tokens_BT, segments_BT, edits=edits), targets_BT)


def _of_targets(seen: Seen, targets_BT: jax.Array) -> jax.Array:
    return jnp.take_along_axis(seen.logits, targets_BT[..., None], axis=-1)[..., 0]


@functools.partial(jax.jit, static_argnums=0)
def _attribute(
    config: ModelConfig, params: dict, tokens_BT: jax.Array, targets_BT: jax.Array, segments_BT: jax.Array
) -> Attribution:
    captured = ["embedding", "*/heads", "*/neurons", "*/middle", "*/mlp"]
    seen = look(bare(config, params), tokens_BT, segments_BT, capture=captured)
    last = f"block{config.num_layers - 1}/"
    direction_BTD, norm_bias_BT = _direction(
        config, params, seen[last + "middle"] + seen[last + "mlp"], targets_BT
    )
    layers = params["layers"]
    heads_LBTHK = _stacked(config, seen, "heads")
    neurons_LBTF = _stacked(config, seen, "neurons")
    # What a head or neuron of 1 adds; so that no write [L, B, T, H, D] is ever held.
    head_LBTHK = jnp.einsum("lhkd,btd->lbthk", layers["output"], direction_BTD)
    neuron_LBTF = jnp.einsum("lfd,btd->lbtf", layers["down"], direction_BTD)
    return Attribution(
        logit_BT=_of_targets(seen, targets_BT),
        embedding_BT=(seen["embedding"] * direction_BTD).sum(axis=-1),
        heads_LBTH=(heads_LBTHK * head_LBTHK).sum(axis=-1),
        neurons_LBTF=neurons_LBTF * neuron_LBTF,
        attention_bias_LBT=_bias(params, "output_bias", direction_BTD),
        mlp_bias_LBT=_bias(params, "down_bias", direction_BTD),
        norm_bias_BT=norm_bias_BT,
    )


def _stacked(config: ModelConfig, seen: Seen, name: str) -> jax.Array:
    blocks = [seen[f"block{number}/{name}"] for number in range(config.num_layers)]
    return jnp.stack(blocks).astype(jnp.float32)


def _direction(
    config: ModelConfig, params: dict, x_BTD: jax.Array, targets_BT: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns what the residual stream is multiplied with to give the logits, and what is added then.

    The final norm divides by a number that is taken as it was. LayerNorm takes the mean away before, which is
    the same as taking it from the direction.
    """
    head_VD = params["embedding" if config.tie_embeddings else "head"]
    row_BTD, x_BTD = head_VD[targets_BT], x_BTD.astype(jnp.float32)
    scaled_BTD = row_BTD * params["final_norm"]
    if (bias_D := params.get("final_norm_bias")) is None:
        mean_square_BT1 = jnp.mean(jnp.square(x_BTD), axis=-1, keepdims=True)
        return scaled_BTD * jax.lax.rsqrt(mean_square_BT1 + config.norm_eps), jnp.zeros(targets_BT.shape)
    variance_BT1 = jnp.var(x_BTD, axis=-1, keepdims=True)
    centred_BTD = scaled_BTD - scaled_BTD.mean(axis=-1, keepdims=True)
    return centred_BTD * jax.lax.rsqrt(variance_BT1 + config.norm_eps), row_BTD @ bias_D


def _bias(params: dict, name: str, direction_BTD: jax.Array) -> jax.Array:
    """Returns what a bias of each block adds, [L, B, T]; 0 in models without."""
    layers = params["layers"]
    if (bias_LD := layers.get(name)) is None:
        return jnp.zeros((len(layers["output"]), *direction_BTD.shape[:2]))
    return jnp.einsum("ld,btd->lbt", bias_LD, direction_BTD)
