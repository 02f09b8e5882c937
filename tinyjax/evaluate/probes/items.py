"""Prompts with a right and some wrong continuations, in the three groups of Eldan & Li 2023, section 4.2.

The texts are this project's own; their words are those of stories for small children. They lie beside this
module: knowledge.jsonl (facts of the world), reasoning.jsonl (what follows, or what is left) and
context.jsonl (who or what it was; the wrong answers occur in the prompt as the right one does).
Of the wrong answers that were written for knowledge and reasoning, those were kept with which length, and
n-gram models of 8,428 TinyStories, give the right one away least: there these baselines are near chance by
selection.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from importlib import resources

GROUPS = ("knowledge", "reasoning", "context")


@dataclasses.dataclass(frozen=True)
class Item:
    """A prompt, and continuations of which one is right; a space stands between."""

    group: str
    prompt: str
    right: str
    wrong: tuple[str, ...]

    @property
    def choices(self) -> tuple[str, ...]:
        """All continuations, the right one first."""
        return (self.right, *self.wrong)


def written_items() -> list[Item]:
    """Returns the items that were written by hand, by group."""
    return [item for group in GROUPS for item in _read(group)]


def _read(group: str) -> list[Item]:
    lines = (
        (resources.files("tinyjax.evaluate.probes") / f"{group}.jsonl")
        .read_text(encoding="utf-8")
        .splitlines()
    )
    rows = map(json.loads, lines)
    return [Item(group, row["prompt"], row["right"], tuple(row["wrong"])) for row in rows]


def fingerprint(items: Iterable[Item]) -> str:
    """Returns a hex digest of items: accuracies compare where it is the same."""
    return hashlib.sha256(repr([dataclasses.astuple(item) for item in items]).encode()).hexdigest()[:16]
