"""The loss over a set of stories, and of its parts: by position, length and source.

Each story is tokenized by the model's own tokenizer and predicted by itself, so that models of any tokenizer
are compared in bits/byte, on the same stories. See `tinyjax.evaluate.loss` for the units.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh

from tinyjax import instruct
from tinyjax.data.manifests import Prepared
from tinyjax.data.windows import Instructions, example_text
from tinyjax.evaluate.estimates import Estimate
from tinyjax.evaluate.loss import Evaluation, summarise
from tinyjax.evaluate.texts import Loss, Text, replicate, text_losses
from tinyjax.model.quantize import quantize
from tinyjax.sample.model import Model

_AT_ONCE = 1024  # stories in memory
_FIRST_TOKENS, _FIRST_BYTES = 16, 256  # where the first bands of positions and of lengths end
_BANDS = 32  # up to 16 * 2**31 tokens
_Z = 1.959964  # 97.5 % of a normal distribution lie below it


class Story(NamedTuple):
    """A story of a set."""

    text: Text
    source: str


@dataclasses.dataclass(frozen=True)
class Losses:
    """The loss of each story of a set, N in all, and of each band of positions, P."""

    nats_N: np.ndarray
    bytes_N: np.ndarray
    tokens_N: np.ndarray
    sources: tuple[str, ...]
    nats_P: np.ndarray
    tokens_P: np.ndarray

    @property
    def whole(self) -> Evaluation:
        """Of all stories."""
        return summarise(self.nats_N, self.bytes_N, self.tokens_N)


def stories_of(prepared: Prepared, split: str, instructions: bool) -> Iterator[Story]:
    """Yields the stories of a split of a prepared set.

    Args:
      prepared: the set.
      split: `train` or `validation`.
      instructions: whether to put the instructions that training has before a story, where the set has some.
    """
    recipe = prepared.manifest["windows"]["recipe"]
    drawn = None
    if instructions and recipe["instruct"]:
        drawn = Instructions(instruct.parse_hold_out(recipe["hold_out"]), recipe["seed"])
    for record in prepared.stories(split):
        prompt, text = example_text(record, drawn)
        yield Story(Text(text, prompt), record.source or "unknown")


def story_losses(
    model: Model, stories: Iterable[Story], mesh: Mesh, told: Callable[[], None] = lambda: None
) -> Losses:
    """Returns the losses of stories, of which there is at least one; `told` is called after each."""
    params = replicate(model, mesh)
    parts, stories = [], iter(stories)
    while some := list(itertools.islice(stories, _AT_ONCE)):
        parts.append(_losses(text_losses(model, params, [story.text for story in some], mesh), some))
        for _ in some:
            told()
    return _joined(parts)


def _losses(losses: list[Loss], stories: list[Story]) -> Losses:
    bands = np.concatenate([_band(np.arange(len(loss.nats)), _FIRST_TOKENS) for loss in losses])
    return Losses(
        nats_N=np.array([loss.nats.sum() for loss in losses]),
        bytes_N=np.array([loss.num_bytes for loss in losses]),
        tokens_N=np.array([len(loss.nats) for loss in losses]),
        sources=tuple(story.source for story in stories),
        nats_P=np.bincount(bands, np.concatenate([loss.nats for loss in losses]), _BANDS),
        tokens_P=np.bincount(bands, minlength=_BANDS),
    )


def _joined(parts: list[Losses]) -> Losses:
    return Losses(
        nats_N=np.concatenate([part.nats_N for part in parts]),
        bytes_N=np.concatenate([part.bytes_N for part in parts]),
        tokens_N=np.concatenate([part.tokens_N for part in parts]),
        sources=tuple(source for part in parts for source in part.sources),
        nats_P=np.sum([part.nats_P for part in parts], axis=0),
        tokens_P=np.sum([part.tokens_P for part in parts], axis=0),
    )


def in_int8(model: Model) -> Model:
    """Returns the model with weights in int8, as the sampler rounds them."""
    return dataclasses.replace(model, params=quantize(model.config, model.params))


def break_down(losses: Losses) -> dict[str, Any]:
    """Returns the loss over all stories and over parts of them, as JSON has it."""
    whole = losses.whole
    return {
        "nats_per_token": whole.nats_per_token,
        "bits_per_byte": dataclasses.asdict(_bits_per_byte(losses, np.ones_like(losses.nats_N, bool))),
        "standard_error": whole.standard_error,
        "by_position": _by_position(losses),
        "by_length": _by_length(losses),
        "by_source": _by_source(losses),
    }


def difference(losses: Losses, others: Losses) -> Estimate:
    """Returns by how many bits/byte `losses` are higher than `others`, story by story of the same set."""
    return ratio(losses.nats_N - others.nats_N, losses.bytes_N)


def ratio(nats: np.ndarray, num_bytes: np.ndarray) -> Estimate:
    """Returns nats over bytes in bits/byte; observations, such as stories, are drawn independently."""
    whole = summarise(nats, num_bytes, num_bytes)
    half = _Z * whole.standard_error
    return Estimate(whole.bits_per_byte, whole.bits_per_byte - half, whole.bits_per_byte + half, len(nats))


def _bits_per_byte(losses: Losses, chosen_N: np.ndarray) -> Estimate:
    return ratio(losses.nats_N[chosen_N], losses.bytes_N[chosen_N])


def _by_position(losses: Losses) -> list[dict[str, Any]]:
    """By how many of the story's tokens come before."""
    return [
        _span(band, _FIRST_TOKENS)
        | {"nats_per_token": float(losses.nats_P[band] / tokens), "tokens": int(tokens)}
        for band, tokens in enumerate(losses.tokens_P)
        if tokens
    ]


def _by_length(losses: Losses) -> list[dict[str, Any]]:
    """By the bytes of the story."""
    bands_N = _band(losses.bytes_N, _FIRST_BYTES)
    return [
        _span(band, _FIRST_BYTES)
        | {
            "bits_per_byte": dataclasses.asdict(_bits_per_byte(losses, bands_N == band)),
            "stories": int(np.sum(bands_N == band)),
        }
        for band in np.unique(bands_N).tolist()
    ]


def _by_source(losses: Losses) -> dict[str, dict[str, Any]]:
    """By who or what wrote the story."""
    sources_N = np.array(losses.sources)
    return {
        source: {
            "bits_per_byte": dataclasses.asdict(_bits_per_byte(losses, sources_N == source)),
            "stories": int(np.sum(sources_N == source)),
        }
        for source in sorted(set(losses.sources))
    }


def _band(values: np.ndarray, first: int) -> np.ndarray:
    """Returns the band of each value: 0 below `first`, 1 below twice that, ..."""
    return np.searchsorted(first * 2.0 ** np.arange(_BANDS - 1), values, side="right")


def _span(band: int, first: int) -> dict[str, int]:
    """Returns from where a band goes, and to where; the end isn't in it."""
    end = first << band
    return {"from": 0 if band == 0 else end // 2, "to": end}
