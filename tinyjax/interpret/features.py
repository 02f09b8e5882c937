"""Features: directions that a dictionary finds in activations, of which few are active on a token.

An autoencoder gives back the activation that it reads (of the residual stream, or neurons); a transcoder
reads "blockN/mlp_input" and gives "blockN/mlp", in the MLP's place (Dunefsky et al. 2024, arXiv 2406.11944).
The `active` largest pre-activations are kept, the rest is 0: no penalty, and so nothing shrinks (TopK, Gao et
al. 2024, arXiv 2406.04093). Features are listed as neurons are.
Axes: B stories, T positions, D width of what is read, E of what is given, F features.
"""

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from etils import epath
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from optax.losses import softmax_cross_entropy_with_integer_labels as cross_entropy

from tinyjax.errors import UserError
from tinyjax.interpret.activity import Units
from tinyjax.interpret.capture import look
from tinyjax.interpret.corpus import Corpus
from tinyjax.interpret.edits import Replace
from tinyjax.interpret.neurons import Layer, describe
from tinyjax.interpret.passages import is_text
from tinyjax.parallel.sharding import check_divides, put_batch
from tinyjax.sample.model import Model

_TRAINED = ("encoder_DF", "encoder_bias_F", "decoder_FE", "decoder_bias_E")  # of a dictionary
_MEASURED = 8  # batches from which the size of activations is taken


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a dictionary reads and gives, and how it is trained."""

    source: str  # the activation that it reads
    target: str  # the one that it gives: the same, or what follows from it
    features: int
    active: int = 16  # features at most that are not 0 on a token
    steps: int = 300
    batch_size: int = 16  # stories a step
    learning_rate: float = 1e-2  # constant, then falling to 0 over the last fifth
    seed: int = 0


class Dictionary(NamedTuple):
    """The parameters, float32; the last four are measured, and stay."""

    encoder_DF: Any
    encoder_bias_F: Any
    decoder_FE: Any  # rows of norm 1
    decoder_bias_E: Any
    mean_D: Any  # of what is read
    scale: Any  # the root mean square of what is read, less its mean
    target_mean_E: Any  # of what is given
    target_scale: Any


@dataclasses.dataclass(frozen=True)
class Features:
    """A trained dictionary."""

    settings: Settings
    dictionary: Dictionary
    unexplained: tuple[float, ...] = ()  # the share of variance that was left, at each step


@dataclasses.dataclass(frozen=True)
class Quality:
    """How good a dictionary is."""

    tokens: int
    loss: float  # of the model, nats/token
    loss_replaced: float  # with what the dictionary gives in the place of the activation
    loss_zero: float  # with 0 there
    recovered: float  # the share of the difference between the last and the first that is not lost
    explained: float  # share of variance
    active: float  # features that are not 0 on a token (L0)
    dead: int  # features that are 0 on all tokens


def encode(dictionary: Dictionary, read_BTD: jax.Array | np.ndarray, *, active: int) -> jax.Array:
    """Returns the features [B, T, F], of which about `active` are not 0: equal ones go together."""
    centred_BTD = (read_BTD.astype(jnp.float32) - dictionary.mean_D) / dictionary.scale
    pre_BTF = centred_BTD @ dictionary.encoder_DF + dictionary.encoder_bias_F
    least_BT1 = jax.lax.top_k(pre_BTF, active)[0][..., -1:]
    return jnp.where(pre_BTF >= least_BT1, jax.nn.relu(pre_BTF), 0)


def decode(dictionary: Dictionary, feature_BTF: jax.Array) -> jax.Array:
    """Returns what the features stand for: [B, T, E]."""
    out_BTE = feature_BTF @ dictionary.decoder_FE + dictionary.decoder_bias_E
    return out_BTE * dictionary.target_scale + dictionary.target_mean_E


def train(model: Model, corpus: Corpus, settings: Settings, mesh: Mesh | None = None) -> Features:
    """Trains a dictionary on activations of a model, which are computed as they are needed.

    The first token of a story, bos, is left out: it is no text, and where this was tried the stream is there
    up to 2.4 times as large. The same settings give the same dictionary.

    Args:
      model: from `load_model`, or `bin.loading.load`.
      corpus: stories, which are gone through in another order each time.
      settings: of the dictionary.
      mesh: over whose data axes stories are sharded; default: one device.

    Raises:
      UserError: the stories of a step don't divide over the mesh, or more features are to be active than are.
    """
    if not 1 <= settings.active <= settings.features:
        raise UserError(f"{settings.active} of {settings.features} features can't be active; choose fewer")
    if mesh is None:
        return _train(model, corpus, settings, lambda batch: batch)
    check_divides(mesh, "batch_size", settings.batch_size, "batch")
    put = functools.partial(put_batch, mesh)
    params = jax.device_put(model.params, NamedSharding(mesh, PartitionSpec()))
    with jax.set_mesh(mesh):
        return _train(dataclasses.replace(model, params=params), corpus, settings, put)


_Batch = dict[str, Any]


def _train(model: Model, corpus: Corpus, settings: Settings, put: Callable[[_Batch], _Batch]) -> Features:
    optimizer = _optimizer(settings)
    batches = map(put, _draw(corpus, settings))
    dictionary = _start(model, settings, [next(batches) for _ in range(_MEASURED)])
    state = optimizer.init(dictionary)
    step = jax.jit(functools.partial(_step, model, settings, optimizer), donate_argnums=(1, 2))
    unexplained = []
    for _ in range(settings.steps):
        dictionary, state, left = step(model.params, dictionary, state, next(batches))
        unexplained.append(left)
    return Features(settings, jax.device_get(dictionary), tuple(np.asarray(unexplained).tolist()))


def _optimizer(settings: Settings) -> optax.GradientTransformation:
    falling = max(1, settings.steps // 5)
    schedule = optax.join_schedules(
        [
            optax.constant_schedule(settings.learning_rate),
            optax.linear_schedule(settings.learning_rate, 0.0, falling),
        ],
        [settings.steps - falling],
    )
    return optax.adam(schedule)


def _draw(corpus: Corpus, settings: Settings) -> Iterator[_Batch]:
    """Yields batches of stories without end, each once before any again."""
    rng, order = np.random.default_rng(settings.seed), np.zeros(0, np.int64)
    while True:
        while len(order) < settings.batch_size:
            order = np.append(order, rng.permutation(len(corpus.texts)))
        rows, order = order[: settings.batch_size], order[settings.batch_size :]
        yield {"tokens": corpus.tokens_NT[rows], "segments": corpus.segments_NT[rows]}


def _start(model: Model, settings: Settings, batches: list[_Batch]) -> Dictionary:
    """Returns a dictionary of random directions, which are read as they are written (as Gao et al. start)."""
    (mean_D, scale), (mean_E, target_scale) = _measure(model, settings, batches)
    key = jax.random.key(settings.seed)
    decoder_FE = _unit_rows(jax.random.normal(key, (settings.features, len(mean_E)), jnp.float32))
    other_FD = _unit_rows(jax.random.normal(key, (settings.features, len(mean_D)), jnp.float32))
    return Dictionary(
        encoder_DF=other_FD.T,
        encoder_bias_F=jnp.zeros(settings.features, jnp.float32),
        decoder_FE=decoder_FE,
        decoder_bias_E=jnp.zeros(len(mean_E), jnp.float32),
        mean_D=jnp.asarray(mean_D, jnp.float32),
        scale=jnp.float32(scale),
        target_mean_E=jnp.asarray(mean_E, jnp.float32),
        target_scale=jnp.float32(target_scale),
    )


def _measure(model: Model, settings: Settings, batches: list[_Batch]) -> list[tuple[np.ndarray, float]]:
    """Returns the mean of what is read, and of what is given, and the root mean square of what is left."""

    @jax.jit
    def sums(params: dict, batch: _Batch) -> list[tuple[jax.Array, jax.Array]]:
        text_BT1 = is_text(batch["segments"])[..., None]
        seen = _look(model, settings, params, batch)
        return [
            (
                jnp.where(text_BT1, x, 0).sum(axis=(0, 1)),
                jnp.where(text_BT1, jnp.square(x), 0).sum(axis=(0, 1)),
            )
            for x in seen
        ]

    count = sum(float(is_text(batch["segments"]).sum()) for batch in batches)
    parts = [jax.device_get(sums(model.params, batch)) for batch in batches]
    totals = jax.tree.map(lambda *x: np.sum(x, axis=0, dtype=np.float64) / count, *parts)
    return [(mean, math.sqrt(max(np.mean(square - mean**2), 1e-30))) for mean, square in totals]


def _look(model: Model, settings: Settings, params: dict, batch: _Batch) -> tuple[jax.Array, jax.Array]:
    """Returns what is read and what is to be given: float32 [B, T, D] and [B, T, E]."""
    names = [settings.source, settings.target]
    seen = look(dataclasses.replace(model, params=params), batch["tokens"], batch["segments"], capture=names)
    return seen[settings.source].astype(jnp.float32), seen[settings.target].astype(jnp.float32)


def _step(
    model: Model,
    settings: Settings,
    optimizer: optax.GradientTransformation,
    params: dict,
    dictionary: Dictionary,
    state: optax.OptState,
    batch: _Batch,
) -> tuple[Dictionary, optax.OptState, jax.Array]:
    """Returns dictionary and optimizer state after an update, and the share of variance left before it."""
    read_BTD, given_BTE = _look(model, settings, params, batch)
    text_BT = is_text(batch["segments"])

    def left(dictionary: Dictionary) -> jax.Array:
        fixed = jax.tree.map(jax.lax.stop_gradient, dictionary)
        measured = fixed._replace(**{name: getattr(dictionary, name) for name in _TRAINED})
        out_BTE = decode(measured, encode(measured, read_BTD, active=settings.active))
        error_BT = jnp.mean(jnp.square((out_BTE - given_BTE) / fixed.target_scale), axis=-1)
        return jnp.sum(error_BT, where=text_BT) / jnp.maximum(text_BT.sum(), 1)

    share, gradients = jax.value_and_grad(left)(dictionary)
    updates, state = optimizer.update(gradients, state, dictionary)
    moved: Any = optax.apply_updates(dictionary, updates)
    return moved._replace(decoder_FE=_unit_rows(moved.decoder_FE)), state, share


def _unit_rows(x_FE: jax.Array) -> jax.Array:
    return x_FE / jnp.maximum(jnp.linalg.norm(x_FE, axis=1, keepdims=True), 1e-12)


class _Sums(NamedTuple):
    losses_3: Any  # of the model, with the dictionary, with 0
    targets: Any
    error: Any  # squared
    given_E: Any
    square: Any
    active_F: Any  # tokens on which each feature is not 0
    text: Any


def evaluate(model: Model, corpus: Corpus, features: Features, batch_size: int = 16) -> Quality:
    """Measures a dictionary on stories, which should not be those it was trained on.

    Activations of the first token, bos, are left as they are, in all that is compared.
    """
    sums = jax.jit(functools.partial(_sums, model, features.settings))
    total = None
    for _, part in corpus.batches(batch_size):
        batch = {"tokens": part.tokens_NT, "segments": part.segments_NT, "targets": part.targets_NT}
        found = sums(model.params, features.dictionary, batch)
        found = jax.tree.map(lambda x: np.asarray(x, np.float64), found)
        total = found if total is None else jax.tree.map(np.add, total, found)
    assert total is not None
    loss, replaced, zero = (total.losses_3 / total.targets).tolist()
    variance = total.square - np.sum(total.given_E**2) / total.text
    return Quality(
        tokens=int(total.text),
        loss=loss,
        loss_replaced=replaced,
        loss_zero=zero,
        recovered=(zero - replaced) / (zero - loss) if zero != loss else math.nan,
        explained=float(1 - total.error / variance),
        active=float(total.active_F.sum() / total.text),
        dead=int(np.count_nonzero(total.active_F == 0)),
    )


def _sums(model: Model, settings: Settings, params: dict, dictionary: Dictionary, batch: _Batch) -> _Sums:
    model = dataclasses.replace(model, params=params)
    tokens_BT, segments_BT = batch["tokens"], batch["segments"]
    text_BT1 = is_text(segments_BT)[..., None]
    read_BTD, given_BTE = _look(model, settings, params, batch)
    feature_BTF = encode(dictionary, read_BTD, active=settings.active)
    out_BTE = decode(dictionary, feature_BTF)

    def loss(edits: dict[str, Replace]) -> jax.Array:
        logits_BTV = look(model, tokens_BT, segments_BT, edits=edits).logits
        return jnp.sum(cross_entropy(logits_BTV, batch["targets"]), where=segments_BT > 0)

    edits = [{}, *({settings.target: Replace(value, where=text_BT1)} for value in (out_BTE, 0.0))]
    given_BTE = jnp.where(text_BT1, given_BTE, 0)
    return _Sums(
        losses_3=jnp.stack([loss(edit) for edit in edits]),
        targets=(segments_BT > 0).sum(),
        error=jnp.sum(jnp.square(out_BTE - given_BTE), where=text_BT1),
        given_E=given_BTE.sum(axis=(0, 1)),
        square=jnp.square(given_BTE).sum(),
        active_F=jnp.sum((feature_BTF > 0) & text_BT1, axis=(0, 1)),
        text=text_BT1.sum(),
    )


def list_features(
    model: Model, corpus: Corpus, features: Features, *, keep: int = 20, batch_size: int = 16
) -> Layer:
    """Describes the features as `neurons` does neurons: what they fire on, and what they write for.

    Args:
      model: that they are of.
      corpus: stories, one a row.
      features: from `train` or `load`.
      keep: top tokens of each.
      batch_size: stories in memory at a time.
    """
    settings, dictionary = features.settings, features.dictionary
    name = f"features of {settings.source}"
    read = functools.partial(encode, active=settings.active)
    units = {name: Units(settings.source, settings.features, read, dictionary)}
    writes_FD = np.asarray(dictionary.decoder_FE * dictionary.target_scale)
    block, _, kind = settings.target.partition("/")
    if kind == "neurons":  # what they add to the residual stream goes through the neurons' own weights
        writes_FD = writes_FD @ np.asarray(model.params["layers"]["down"][int(block.removeprefix("block"))])
    (layer,) = describe(model, corpus, units, {name: writes_FD}, keep=keep, batch_size=batch_size)
    return layer


def save(features: Features, path: epath.PathLike) -> None:
    """Writes a dictionary with its settings to a .npz file, which NumPy alone can read."""
    settings = np.frombuffer(json.dumps(dataclasses.asdict(features.settings)).encode(), np.uint8)
    arrays: dict[str, Any] = {name: np.asarray(x) for name, x in features.dictionary._asdict().items()}
    with epath.Path(path).open("wb") as file:
        np.savez(file, settings=settings, unexplained=np.array(features.unexplained), **arrays)


def load(path: epath.PathLike) -> Features:
    """Reads what `save` wrote.

    Raises:
      UserError: it is something else.
    """
    try:
        with epath.Path(path).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            settings = Settings(**json.loads(arrays["settings"].tobytes()))
            dictionary = Dictionary(*(arrays[name] for name in Dictionary._fields))
            return Features(settings, dictionary, tuple(arrays["unexplained"].tolist()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"'{path}' holds no dictionary of features ({error}); train one anew") from error
