"""A few stories token by token: where heads look, what units do, and what would come next after each block.

Axes: N stories, T positions, S sources, L blocks, H heads, F units, V vocabulary, K predictions.
"""

import base64
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tinyjax.config import ModelConfig
from tinyjax.interpret.capture import Seen, look
from tinyjax.interpret.corpus import Corpus
from tinyjax.interpret.features import Features, encode
from tinyjax.model.decoder import logits, norm
from tinyjax.sample.model import Model

_PREDICTIONS = 3
_SHARES, _VALUES = 255, 127  # whole numbers in a byte
_PROBABILITY = 1000


def show_stories(
    model: Model, shown: Corpus, units: dict[str, Any], trained: Features | None
) -> dict[str, Any]:
    """Returns stories with what happens at each of their tokens.

    Of each: "patterns", the base64 of [L, H, T (T + 1) / 2] bytes, attention times 255 of each query to the
    sources up to it; "units", by kind, the base64 of [F, T] signed bytes, activations in 127ths of "scales"; and
    "lens", after the embedding and each block, the likeliest tokens and, in thousandths, their probabilities and
    that of the token which comes next. What tokens these are says "vocabulary".

    Args:
      model: from `load_model`, or `bin.loading.load`.
      shown: the stories.
      units: the neurons and features, as the report lists them.
      trained: the dictionary of the features.
    """
    streams = [f"block{number}/residual" for number in range(model.config.num_layers)]
    seen = look(model, shown.tokens_NT, shown.segments_NT, capture=["*/pattern", "*/neurons", *streams])
    active = {"neurons": _neurons(model, seen)} | (
        {"features": _features(seen, trained)} if trained is not None else {}
    )
    active = {kind: _text_only(shown, active_NFT) for kind, active_NFT in active.items()}
    scales = {kind: _scales(units[kind]["layers"], active_NFT) for kind, active_NFT in active.items()}
    lens = [*(_lens(model, seen[name], shown.targets_NT) for name in streams)]
    lens.append(_likeliest(model.tokenizer.vocab_size, seen.logits, shown.targets_NT))
    patterns = [np.asarray(seen[f"block{i}/pattern"]) for i in range(model.config.num_layers)]
    return {
        "scales": scales,
        "stories": [
            {
                "tokens": _texts(shown, row),
                "next": _next(model, shown, row),
                "patterns": _packed_patterns([p_NHTS[row] for p_NHTS in patterns], length),
                "units": {kind: _packed(x_NFT[row, :, :length], scales[kind]) for kind, x_NFT in active.items()},
                "lens": [_of_row(after, row, length) for after in lens],
            }
            for row, length in enumerate(np.count_nonzero(shown.segments_NT, axis=1))
        ],
        "vocabulary": _vocabulary(model, lens),
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


_Likeliest = tuple[np.ndarray, np.ndarray, np.ndarray]


def _lens(model: Model, stream_NTD: jax.Array, targets_NT: np.ndarray) -> _Likeliest:
    """Returns what the output head reads in the residual stream, as if no block followed."""
    vocab_size = model.tokenizer.vocab_size
    return _likeliest(vocab_size, _read(model.config, model.params, stream_NTD), targets_NT)


@functools.partial(jax.jit, static_argnums=0)
def _read(config: ModelConfig, params: dict, stream_NTD: jax.Array) -> jax.Array:
    return logits(config, params, norm(config, params, "final_norm", stream_NTD))


@functools.partial(jax.jit, static_argnums=0)
def _likeliest(vocab_size: int, logits_NTV: jax.Array, targets_NT: jax.Array) -> Any:
    p_NTV = jax.nn.softmax(logits_NTV[..., :vocab_size])
    p_NTK, token_NTK = jax.lax.top_k(p_NTV, min(_PREDICTIONS, vocab_size))
    return token_NTK, p_NTK, jnp.take_along_axis(p_NTV, targets_NT[..., None], axis=-1)


def _of_row(after: _Likeliest, row: int, length: int) -> dict[str, Any]:
    token_TK, p_TK, next_T1 = (np.asarray(x)[row, :length] for x in after)
    thousandths = np.rint(np.concatenate([p_TK, next_T1], axis=1) * _PROBABILITY).astype(int)
    return {"tokens": token_TK, "probabilities": thousandths}


def _vocabulary(model: Model, lens: Sequence[_Likeliest]) -> dict[str, str]:
    used = np.unique(np.concatenate([np.asarray(tokens).ravel() for tokens, _, _ in lens]))
    return {str(token): token_text(model, int(token)) for token in used}


def token_text(model: Model, token: int) -> str:
    """Returns how a token is shown."""
    names = {model.tokenizer.bos_id: "⟨start⟩", model.tokenizer.eos_id: "⟨end⟩"}
    return names.get(token) or model.tokenizer.decode([token], start=False)


def _texts(shown: Corpus, row: int) -> list[str]:
    data, length = shown.texts[row].encode(), np.count_nonzero(shown.segments_NT[row])
    starts = [*shown.starts_NT[row, :length].tolist(), len(data)]
    texts = [data[a:b].decode("utf-8", "replace") for a, b in zip(starts, starts[1:], strict=False)]
    return ["⟨start⟩", *texts[1:]]


def _next(model: Model, shown: Corpus, row: int) -> str:
    """Returns what comes after the last token that is shown."""
    return token_text(model, int(shown.targets_NT[row, np.count_nonzero(shown.segments_NT[row]) - 1]))
