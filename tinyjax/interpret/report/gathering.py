"""All that the report tells of a model: what heads, neurons and features do, in many stories and in a few."""

import dataclasses
import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from etils import epath

from tinyjax.config import to_dict
from tinyjax.errors import UserError
from tinyjax.interpret.activity import EDGES
from tinyjax.interpret.attribution import lens_losses
from tinyjax.interpret.corpus import Corpus, classes_of, corpus
from tinyjax.interpret.features import Features, Settings, evaluate, list_features, train
from tinyjax.interpret.heads import removals, study
from tinyjax.interpret.neurons import Layer, neurons, summarise
from tinyjax.interpret.report.stories import show_stories
from tinyjax.model.parameters import count
from tinyjax.sample.model import Model
from tinyjax.textio import Record

LENGTH = 512  # tokens of a story that are looked at, at most
STORY_TOKENS = 224  # ... of those that are shown token by token
HEAD_TOKENS = 100_000  # about: patterns take long, and shares of so many queries no longer change
REMOVAL_TOKENS = 20_000  # about: the model reads them once for each head ...
REMOVALS = 1_280_000  # ... and altogether at most so many, of models with more than 64 heads
_NUM_STORIES = 3
_HELD_OUT = 10  # one of so many stories is kept from a dictionary, to measure it with
_FEATURES = 8  # of a dictionary, for each number of what it reads
_STEPS = 500  # of training it
_DIGITS = 6  # that are written of a number: more are not the same on another machine

Told = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is looked at, and with what."""

    checkpoint: str
    source: str  # where the stories are from
    num_tokens: int = 100_000
    stories: tuple[str, ...] = ()  # to show token by token; default: some of those read
    features: int | None = None  # the block before which a dictionary reads the residual stream ...
    transcoder: bool = False  # ... or whose MLP it stands in for


def gather(
    model: Model, records: Iterable[Record], plan: Plan, told: Told = lambda stage: None
) -> dict[str, Any]:
    """Returns all numbers of the report, as plain JSON.

    Args:
      model: from `load_model`, or `bin.loading.load`.
      records: stories, of which so many are read that they have `plan.num_tokens` tokens.
      plan: what is looked at.
      told: is told what is done next.

    Raises:
      UserError: there is no story, or no such block.
    """
    _check(model, plan)
    length = min(LENGTH, model.config.context_length)
    taken = take(model, records, plan.num_tokens, length)
    read = _corpus(model, taken, length)
    of_heads = _heads(model, read, told)
    told("neurons")
    units, trained = {"neurons": _with_summary(neurons(model, read))}, None
    if plan.features is not None:
        told("features: training a dictionary")
        read_and_given = _read_and_given(plan.features, plan.transcoder)
        trained, units["features"] = _features(model, taken, length, *read_and_given)
    told("stories")
    shown = _shown(model, read, plan, min(STORY_TOKENS, length))
    listed = {kind: _dict(of) for kind, of in units.items()}
    of_stories = show_stories(model, shown, listed, trained)
    about = {"about": _about(model, plan), "corpus": _described(read, plan)}
    return _plain(about | of_heads | {"units": listed, "edges": EDGES} | of_stories)


def take(model: Model, records: Iterable[Record], num_tokens: int, length: int) -> list[Record]:
    """Returns the first stories that have so many tokens together, at most `length` of each."""
    taken, tokens = [], 0
    for record in records:
        if tokens >= num_tokens:
            break
        taken.append(record)
        tokens += min(len(model.tokenizer.encode(record.text)) + 1, length)
    return taken


def _check(model: Model, plan: Plan) -> None:
    blocks = model.config.num_layers
    if plan.features is not None and not 0 <= plan.features < blocks:
        raise UserError(f"there is no block {plan.features}; they are numbered from 0 to {blocks - 1}")


def _corpus(model: Model, records: Sequence[Record], length: int) -> Corpus:
    tags = [classes_of(record.words) for record in records]
    return corpus(model.tokenizer, [record.text for record in records], length, tags)


def _heads(model: Model, read: Corpus, told: Told) -> dict[str, Any]:
    heads = model.config.num_layers * model.config.num_heads
    many, some = _first(read, HEAD_TOKENS), _first(read, min(REMOVAL_TOKENS, REMOVALS // heads))
    told(f"heads, over {many.num_tokens:,} tokens")
    found = study(model, many)
    told(f"loss without each head, over {some.num_tokens:,} tokens")
    lost = removals(model, some)
    return {
        "heads": [_dict(head) | {"removal": _dict(one)} for head, one in zip(found, lost, strict=True)],
        "lens_losses": lens_losses(model, some),
        "measured": {"heads": many.num_tokens, "losses": some.num_tokens},  # over so many tokens
    }


def _with_summary(layers: tuple[Layer, ...]) -> dict[str, Any]:
    return {"layers": layers, "summary": summarise(layers)}


def _first(read: Corpus, num_tokens: int) -> Corpus:
    """Returns the first stories, as many as have so many tokens."""
    tokens_N = (read.segments_NT > 0).sum(axis=1).cumsum()
    stories = int((tokens_N < num_tokens).sum()) + 1
    return read.rows(np.arange(min(stories, len(tokens_N))))


def _read_and_given(block: int, transcoder: bool) -> tuple[str, str]:
    """Returns the names of what a dictionary reads and gives."""
    if transcoder:
        return f"block{block}/mlp_input", f"block{block}/mlp"
    return f"block{block}/residual", f"block{block}/residual"


def _features(
    model: Model, taken: Sequence[Record], length: int, source: str, target: str
) -> tuple[Features, dict[str, Any]]:
    """Trains a dictionary on most of the stories, and measures it on the others."""
    held_out = taken[::_HELD_OUT]
    learnt = [record for i, record in enumerate(taken) if i % _HELD_OUT] or held_out
    settings = Settings(source, target, _FEATURES * model.config.d_model, steps=_STEPS)
    trained = train(model, _corpus(model, learnt, length), settings)
    layer = list_features(model, _corpus(model, taken, length), trained)
    return trained, {
        "settings": settings,
        "quality": evaluate(model, _corpus(model, held_out, length), trained),
        "unexplained": trained.unexplained,
    } | _with_summary((layer,))


def _shown(model: Model, read: Corpus, plan: Plan, length: int) -> Corpus:
    """Returns the stories to show: those given, or the first ones, best such as are shown to their end."""
    tokens_N = (read.segments_NT > 0).sum(axis=1)
    whole = [text for text, tokens in zip(read.texts, tokens_N, strict=True) if tokens < length]
    return corpus(model.tokenizer, plan.stories or [*whole, *read.texts][:_NUM_STORIES], length)


def _about(model: Model, plan: Plan) -> dict[str, Any]:
    return {
        "name": name_of(plan.checkpoint),
        "checkpoint": plan.checkpoint,
        "step": model.step,
        "parameters": count(model.config)["total"],
        "vocab_size": model.tokenizer.vocab_size,
        "model": to_dict(model.config),
    }


def name_of(checkpoint: str) -> str:
    """Returns what a model is called on the page: the run's name, with the step where one is named."""
    path = epath.Path(checkpoint)
    if path.name.isdigit() and path.parent.name == "checkpoints":
        return f"{path.parent.parent.name}, step {int(path.name):,}"
    return path.name


def _described(read: Corpus, plan: Plan) -> dict[str, Any]:
    return {
        "source": plan.source,
        "stories": len(read.texts),
        "tokens": read.num_tokens,
        "fingerprint": hashlib.sha256("\0".join(read.texts).encode()).hexdigest()[:16],
    }


def _dict(value: Any) -> Any:
    """Returns dataclasses as plain values, within dicts and tuples too."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, dict):
        return {name: _dict(one) for name, one in value.items()}
    return [_dict(one) for one in value] if isinstance(value, tuple) else value


def _plain(value: Any) -> Any:
    """Returns what JSON can hold: numbers of few digits, and null for what is no number."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, str | int | None):
        return value
    return [_plain(one) for one in (value.tolist() if hasattr(value, "tolist") else value)]
