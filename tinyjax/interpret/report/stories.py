"""A few stories token by token: where heads look, what units do, and what would come next after each block.

Axes: N stories, T positions, S sources, L blocks, H heads, F units, R readings of the lens, K likeliest
tokens, P parts of the model.
"""

import base64
import itertools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from tinyjax.interpret.attribution import Attribution, Lens, attribute, lens
from tinyjax.interpret.capture import Seen, look
from tinyjax.interpret.corpus import Corpus
from tinyjax.interpret.features import Features, encode
from tinyjax.sample.model import Model

_LIKELIEST, _PARTS = 3, 8
_SHARES, _VALUES = 255, 127  # whole numbers in a byte
_PROBABILITY = 1000


def show_stories(
    model: Model, shown: Corpus, units: dict[str, Any], trained: Features | None
) -> dict[str, Any]:
    """Returns stories with what happens at each of their tokens.

    Of each: "patterns", the base64 of [L, H, T (T + 1) / 2] bytes, attention times 255 of each query to the
    sources up to it; "units", by kind, the base64 of [F, T] signed bytes, activations in 127ths of "scales";
    "lens", after the embedding and each block, the likeliest tokens and, in thousandths, their probabilities
    and that of the token which comes next; and "moved", the heads and neurons that moved the logit of that
    token most, as [kind, block, number, effect]. What tokens these are says "vocabulary".

    Args:
      model: from `load_model`, or `bin.loading.load`.
      shown: the stories.
      units: the neurons and features, as the report lists them.
      trained: the dictionary of the features.
    """
    arrays = (shown.tokens_NT, shown.targets_NT, shown.segments_NT)
    sources = ["*/pattern", "*/neurons", *([trained.settings.source] if trained is not None else [])]
    seen = look(model, shown.tokens_NT, shown.segments_NT, capture=sources)
    active = {"neurons": _neurons(model, seen)}
    if trained is not None:
        active["features"] = _features(seen, trained)
    active = {kind: _text_only(shown, active_NFT) for kind, active_NFT in active.items()}
    scales = {kind: _scales(units[kind]["layers"], active_NFT) for kind, active_NFT in active.items()}
    likeliest = lens(model, *arrays, count=min(_LIKELIEST, model.tokenizer.vocab_size))
    moved = attribute(model, *arrays)
    patterns = [np.asarray(seen[f"block{i}/pattern"]) for i in range(model.config.num_layers)]
    return {
        "scales": scales,
        "stories": [
            {
                "tokens": _texts(shown, row),
                "next": _next(model, shown, row),
                "patterns": _packed_patterns([p_NHTS[row] for p_NHTS in patterns], length),
                "units": {
                    kind: _packed(x_NFT[row, :, :length], scales[kind]) for kind, x_NFT in active.items()
                },
                "lens": _lens_of_row(likeliest, row, length),
                "moved": _moved(moved, row, length),
            }
            for row, length in enumerate(np.count_nonzero(shown.segments_NT, axis=1))
        ],
        "vocabulary": _vocabulary(model, likeliest),
    }


def _neurons(model: Model, seen: Seen) -> np.ndarray:
    layers = [seen[f"block{number}/neurons"] for number in range(model.config.num_layers)]
    return np.moveaxis(np.asarray(jnp.concatenate(layers, axis=-1), np.float32), 1, 2)


def _features(seen: Seen, trained: Features) -> np.ndarray:
    read_NTD = seen[trained.settings.source]
    return np.moveaxis(np.asarray(encode(trained.dictionary, read_NTD, active=trained.settings.active)), 1, 2)


def _text_only(shown: Corpus, active_NFT: np.ndarray) -> np.ndarray:
    """Returns activations without those of bos and padding, which are no text."""
    is_text_NT = (shown.segments_NT > 0) & (np.arange(shown.segments_NT.shape[1]) > 0)
    return np.where(is_text_NT[:, None], active_NFT, 0)


def _scales(layers: Sequence[dict[str, Any]], active_NFT: np.ndarray) -> np.ndarray:
    """Returns the largest activation of each unit, in the stories that were read and in those shown."""
    read_F = [max(abs(one["highest"]), abs(one["lowest"])) for layer in layers for one in layer["neurons"]]
    return np.maximum(np.maximum(read_F, np.abs(active_NFT).max(axis=(0, 2))), 1e-12)


def _packed(active_FT: np.ndarray, scale_F: np.ndarray) -> str:
    return _base64(np.rint(active_FT / scale_F[:, None] * _VALUES).astype(np.int8))


def _packed_patterns(patterns: Sequence[np.ndarray], length: int) -> str:
    lower = np.tril_indices(length)
    return _base64(np.stack([np.rint(p_HTS[:, *lower] * _SHARES).astype(np.uint8) for p_HTS in patterns]))


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode()


def _lens_of_row(likeliest: Lens, row: int, length: int) -> list[dict[str, Any]]:
    tokens_RTK, p_RTK, right_RT = (np.asarray(x)[:, row, :length] for x in likeliest)
    p_RTK = np.concatenate([p_RTK, right_RT[..., None]], axis=-1)
    thousandths_RTK = np.rint(p_RTK * _PROBABILITY).astype(int)
    return [
        {"tokens": tokens_TK, "probabilities": thousandths_TK}
        for tokens_TK, thousandths_TK in zip(tokens_RTK, thousandths_RTK, strict=True)
    ]


def _moved(found: Attribution, row: int, length: int) -> list[list[list[Any]]]:
    """Returns the strongest parts at each token, the strongest first."""
    heads_LTH, neurons_LTF = (np.asarray(x)[:, row, :length] for x in (found.heads_LBTH, found.neurons_LBTF))
    effects_TP = np.concatenate([_by_token(heads_LTH), _by_token(neurons_LTF)], axis=1)
    names = [*_named("head", heads_LTH), *_named("neuron", neurons_LTF)]
    order_TP = np.argsort(-np.abs(effects_TP), axis=1, kind="stable")[:, :_PARTS]
    return [
        [[*names[p], round(float(effects_P[p]), 3)] for p in order_P]
        for order_P, effects_P in zip(order_TP, effects_TP, strict=True)
    ]


def _by_token(effects_LTX: np.ndarray) -> np.ndarray:
    return np.moveaxis(effects_LTX, 1, 0).reshape(effects_LTX.shape[1], -1)


def _named(kind: str, effects_LTX: np.ndarray) -> list[tuple[str, int, int]]:
    layers, _, numbers = effects_LTX.shape
    return [(kind, layer, number) for layer, number in np.ndindex(layers, numbers)]


def _vocabulary(model: Model, likeliest: Lens) -> dict[str, str]:
    used = np.unique(np.asarray(likeliest.tokens_RBTN))
    return {str(token): token_text(model, token) for token in used.tolist()}


def token_text(model: Model, token: int) -> str:
    """Returns how a token is shown."""
    if token >= model.tokenizer.vocab_size:
        return "⟨none⟩"  # vocabularies are rounded up
    names = {model.tokenizer.bos_id: "⟨start⟩", model.tokenizer.eos_id: "⟨end⟩"}
    return names.get(token) or model.tokenizer.decode([token], start=False)


def _texts(shown: Corpus, row: int) -> list[str]:
    data, length = shown.texts[row].encode(), np.count_nonzero(shown.segments_NT[row])
    starts = [*shown.starts_NT[row, :length].tolist(), len(data)]
    texts = [data[a:b].decode("utf-8", "replace") for a, b in itertools.pairwise(starts)]
    return ["⟨start⟩", *texts[1:]]


def _next(model: Model, shown: Corpus, row: int) -> str:
    """Returns what comes after the last token that is shown."""
    return token_text(model, int(shown.targets_NT[row, np.count_nonzero(shown.segments_NT[row]) - 1]))
