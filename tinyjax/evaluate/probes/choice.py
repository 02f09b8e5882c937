"""Forced choice: which of the given continuations a model finds the likeliest.

A choice is scored by its whole log-probability: that of the text the model would have to write. The mean by
token depends on how a tokenizer cuts the choices, and both it and the mean by byte prefer long choices, whose
ends are sure once begun: of what llama2.c's 260K model chose, the mean rank by length (0 the shortest, 1 the
longest) was 0.45 by the whole, 0.61 by token and 0.62 by byte. Accuracies lay within each other's intervals.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from tinyjax.evaluate.estimates import Estimate, share
from tinyjax.evaluate.probes import ngrams
from tinyjax.evaluate.probes.items import Item
from tinyjax.evaluate.probes.ngrams import Grams, NgramModel
from tinyjax.records import Record, Records
from tinyjax.sample.model import Model
from tinyjax.sample.score import score_ids
from tinyjax.tokenizer import Tokenizer

_AT_ONCE = 64  # items between two writes


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """How often the right answer was chosen in a group, and how often blind choice would be right."""

    accuracy: Estimate
    chance: float


def fits(model: Model, item: Item) -> bool:
    """Returns whether an item is short enough for the model's context."""
    rows, _ = cut(model.tokenizer, item)
    return max(map(len, rows)) - 1 <= model.config.context_length


def cut(tokenizer: Tokenizer, item: Item) -> tuple[list[list[int]], int]:
    """Returns the tokens of the prompt with each choice, and where they begin to be the choice's.

    That is the first token that one of them doesn't share with the prompt alone.
    """
    own, *rows = (
        [tokenizer.bos_id, *tokenizer.encode(text).tolist()]
        for text in (item.prompt, *(f"{item.prompt} {choice}" for choice in item.choices))
    )
    same = itertools.takewhile(lambda tokens: len(set(tokens)) == 1, zip(own, *rows, strict=False))
    return rows, len(list(same))


def choose(
    model: Model,
    items: Sequence[Item],
    records: Records,
    told: Callable[[int, int], None] = lambda done, whole: None,
) -> list[Record]:
    """Returns for each item what the model thinks of its choices.

    Args:
      model: from `load_model`.
      items: each of which `fits`.
      records: by group and prompt; what they hold isn't scored again.
      told: is told how many are scored, and how many will be.
    """
    left = [item for item in items if (item.group, item.prompt) not in records]
    groups = (left[i : i + _AT_ONCE] for i in range(0, len(left), _AT_ONCE))
    scored = itertools.chain.from_iterable(_scored(model, group) for group in groups)
    for done, record in enumerate(scored, len(items) - len(left) + 1):
        records.add(record)
        told(done, len(items))
    return [record for item in items if (record := records.get(item.group, item.prompt))]


def _scored(model: Model, items: Sequence[Item]) -> Iterator[Record]:
    cuts = [cut(model.tokenizer, item) for item in items]
    scores = iter(score_ids(model, [row for rows, _ in cuts for row in rows]))
    for item, (rows, start) in zip(items, cuts, strict=True):
        tokens = [next(scores)[start - 1 :] for _ in rows]
        yield to_record(item, [sum(token.logprob for token in of_choice) for of_choice in tokens])


def to_record(item: Item, logprobs: Sequence[float]) -> Record:
    """Returns what was found of an item: its choices, the right one first, and their log-probabilities.

    Of choices that are equal the last one is taken, so that what knows nothing isn't always right.
    """
    chosen = len(logprobs) - 1 - int(np.argmax(logprobs[::-1]))
    return {
        "group": item.group,
        "prompt": item.prompt,
        "right": item.right,
        "chosen": item.choices[chosen],
        "correct": chosen == 0,
        "logprobs": {
            choice: round(float(value), 4) for choice, value in zip(item.choices, logprobs, strict=True)
        },
    }


def accuracies(records: Sequence[Record]) -> dict[str, Accuracy]:
    """Returns the accuracy in each group."""
    return {
        group: _accuracy([record for record in records if record["group"] == group])
        for group in dict.fromkeys(record["group"] for record in records)
    }


def _accuracy(records: Sequence[Record]) -> Accuracy:
    chance = np.mean([1 / len(record["logprobs"]) for record in records])
    return Accuracy(share(sum(record["correct"] for record in records), len(records)), float(chance))


def baseline_grams(tokenizer: Tokenizer, items: Sequence[Item]) -> Grams:
    """Returns the n-grams that baselines need for items, cut by a model's tokenizer."""
    rows = [row for item in items for row in _with_history(tokenizer, item)[0]]
    return ngrams.collect(rows, tokenizer.vocab_size)


def baseline_choices(
    tokenizer: Tokenizer, items: Sequence[Item], model: NgramModel, order: int
) -> list[Record]:
    """Returns for each item what an n-gram model thinks of its choices, as `choose` does.

    Args:
      tokenizer: that the n-grams were cut with.
      items: those that they were collected for.
      model: the counts.
      order: the n of the longest n-grams to use.
    """
    return [
        to_record(item, [model.logprobs(row, order)[start:].sum() for row in rows])
        for item in items
        for rows, start in [_with_history(tokenizer, item)]
    ]


def _with_history(tokenizer: Tokenizer, item: Item) -> tuple[list[list[int]], int]:
    """Returns what `cut` does, but of the prompt only what an n-gram reaches."""
    rows, start = cut(tokenizer, item)
    first = max(start - ngrams.ORDER + 1, 0)
    return [row[first:] for row in rows], start - first
