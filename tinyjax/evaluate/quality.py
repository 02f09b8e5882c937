"""How good stories are as far as it can be counted: no judge is asked.

What counts is what the model told, not its opening. Completions of one opening are alike, so that intervals
are drawn over openings.
"""

import dataclasses
import importlib
import importlib.util
import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import numpy as np
from etils import epath
from jax.sharding import Mesh

from tinyjax.data.difficulty import reading_level
from tinyjax.evaluate.breakdown import ratio
from tinyjax.evaluate.estimates import Estimate, mean, share
from tinyjax.evaluate.texts import Text, replicate, text_losses
from tinyjax.records import Record
from tinyjax.sample.model import Model
from tinyjax.stories import examples

NO_CHECKER = "no grammar checker is installed; run pip install harper-py"

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_WHOLE = re.compile(r"[.!?…][\"'”’»)\]]*\s*$")
_PHRASE = 4  # words of the shortest one whose repetition is a loop
_TIMES = 3  # as often a loop tells it, at least
# What Harper finds wrong, and is no matter of style or spelling: names of its kinds.
_ISSUES = frozenset({"Agreement", "BoundaryError", "Grammar", "Miscellaneous", "Repetition", "Usage"})

Issues = Callable[[str, int], int]  # in a text, from a character on


def measure(
    records: Sequence[Record],
    groups: Sequence[Hashable],
    vocabulary: frozenset[str] | None = None,
    issues: Issues | None = None,
) -> dict[str, Estimate]:
    """Returns what can be counted in completions.

    finished: share that the model ended itself, at the end of a sentence.
    repetitive: share that loops, see `loops`.
    repeated_4grams: share of a completion's runs of four words that occurred in it before (seq-rep-4 of
      Welleck et al. 2019, section 6).
    reading_level: Flesch-Kincaid grade.
    words: of a completion.
    unknown_words: share of its words that are in no training story; only with a vocabulary.
    grammar_issues: for 100 of its words; only with a checker.

    Args:
      records: at least one, as `sample --output` writes them.
      groups: what records share, over which intervals are drawn: their openings.
      vocabulary: see `words_of`.
      issues: counts them, see `grammar_checker`.
    """
    texts = [told(record) for record in records]
    words = [split_words(text) for text in texts]
    figures = {
        "finished": _share([is_finished(record) for record in records], groups),
        "repetitive": _share([loops(of_text) for of_text in words], groups),
        "repeated_4grams": mean([repeated(of_text) for of_text in words], groups),
        "reading_level": mean([reading_level(text) for text in texts], groups),
        "words": mean([len(of_text) for of_text in words], groups),
    }
    if vocabulary is not None:
        figures["unknown_words"] = mean(_unknown(words, vocabulary), groups)
    if issues is not None:
        figures["grammar_issues"] = mean(_issues(records, words, issues), groups)
    return figures


def _share(hits: Sequence[bool], groups: Sequence[Hashable]) -> Estimate:
    """Returns a share with its interval over groups.

    Where all or none are hits, drawing would show no doubt; then each group counts as one trial.
    """
    if 0 < sum(hits) < len(hits):
        return mean([float(hit) for hit in hits], groups)
    count = len(set(groups))
    return dataclasses.replace(share(count if hits[0] else 0, count), count=len(hits))


def as_records(texts: Iterable[str]) -> list[Record]:
    """Returns stories as if they had been told from nothing, to be measured like completions."""
    return [{"prompt": "", "story": text, "finish": "end"} for text in texts]


def told(record: Record) -> str:
    """Returns what the model told."""
    return record["story"][len(record["prompt"]) :]


def split_words(text: str) -> list[str]:
    """Returns the words of a text in lower case, with apostrophes, without digits and punctuation."""
    return _WORD.findall(text.lower().replace("’", "'"))


def is_finished(record: Record) -> bool:
    """Returns whether the model ended the story itself, at the end of a sentence."""
    return record["finish"] == "end" and bool(_WHOLE.search(record["story"]))


def loops(words: Sequence[str]) -> bool:
    """Returns whether a phrase of at least four words is told three times in a row.

    A shorter phrase counts where it is told so often that some repetition of it is one of four words.
    """
    numbers = {word: number for number, word in enumerate(dict.fromkeys(words))}
    ids = np.array([numbers[word] for word in words], int)
    return any(
        _longest_run(ids[:-period] == ids[period:]) >= (_TIMES - 1) * period
        for period in range(_PHRASE, len(ids) // _TIMES + 1)
    )


def _longest_run(equal: np.ndarray) -> int:
    """Returns the length of the longest run of True."""
    ends = np.flatnonzero(~np.concatenate([[False], equal, [False]]))
    return int(np.max(np.diff(ends))) - 1


def repeated(words: Sequence[str]) -> float:
    """Returns the share of runs of four words that occurred before; 0 where there is none."""
    grams = [tuple(words[i : i + 4]) for i in range(len(words) - 3)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def words_of(shards: Iterable[epath.Path], read: Callable[[], None] = lambda: None) -> frozenset[str]:
    """Returns all words of the stories in shards; `read` is called after each shard."""
    tokens: set[str] = set()
    for shard in shards:
        tokens.update(token for text in examples.read_texts(shard) for token in text.split())
        read()
    return frozenset(word for token in tokens for word in split_words(token))


def _unknown(words: Sequence[Sequence[str]], vocabulary: frozenset[str]) -> list[float]:
    return [sum(word not in vocabulary for word in of_text) / max(len(of_text), 1) for of_text in words]


def _issues(records: Sequence[Record], words: Sequence[Sequence[str]], issues: Issues) -> list[float]:
    return [
        100 * issues(record["story"], len(record["prompt"])) / max(len(of_text), 1)
        for record, of_text in zip(records, words, strict=True)
    ]


def grammar_checker() -> Issues | None:
    """Returns what counts grammatical issues by Harper, which needs no network; None where it isn't there.

    Spelling and style are not counted: in children's stories, most of what it finds of them are names.
    """
    harper: Any = importlib.import_module("harper") if importlib.util.find_spec("harper") else None
    if not hasattr(harper, "Linter"):  # another package has the same name
        return None
    linter = harper.Linter()

    def count(text: str, start: int) -> int:
        found = linter.lint(text, language=harper.Language.PLAINTEXT)
        return sum(lint.lint_kind in _ISSUES and lint.span.end > start for lint in found)

    return count


def bits_per_byte_under(model: Model, records: Sequence[Record], mesh: Mesh) -> Estimate:
    """Returns the loss of completions under a model, given their openings, in bits/byte.

    Its interval is over openings. The end of a story counts where it was told.
    """
    texts = [Text(record["story"], record["prompt"], record["finish"] == "end") for record in records]
    losses = text_losses(model, replicate(model, mesh), texts, mesh)
    openings = {prompt: number for number, prompt in enumerate(dict.fromkeys(r["prompt"] for r in records))}
    member = [openings[record["prompt"]] for record in records]
    return ratio(
        np.bincount(member, [loss.nats.sum() for loss in losses]),
        np.bincount(member, [loss.num_bytes for loss in losses]),
    )
