"""The story world: small simulated histories told in simple English, each with its record.

`tell` is a pure function of seed and index; `stories` streams them without exact duplicates.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence

from tinyjax.errors import UserError, nearest
from tinyjax.stories.world import grammar, lexicon
from tinyjax.stories.world.facts import Fact, facts_of, plainly
from tinyjax.stories.world.narrator import Narrator, narrate
from tinyjax.stories.world.plots import PLOTS
from tinyjax.stories.world.simulation import FEATURES, Draw, Wish, World

__all__ = ["FEATURES", "Fact", "Story", "stories", "tell"]

MIN_WORDS, MAX_WORDS = 60, 250
MAX_ATTEMPTS = 10_000
PLOT_NAMES = tuple(PLOTS)
DULL = grammar.words("say ask tell go come get begin see little")  # in too many to ask for


@dataclasses.dataclass(frozen=True)
class Story:
    """A story and what is true of it."""

    text: str
    words: tuple[str, str, str]  # verb, noun, adjective it was asked to use, in base form
    features: tuple[str, ...]  # those of FEATURES that the plot shows, in that order
    summary: str
    facts: tuple[Fact, ...]
    plot: str


def simulate(draw: Draw) -> tuple[str, World]:
    """What happened in one story, before it is told, and the name of its plot."""
    plot = draw.pick(PLOT_NAMES)
    world = World(draw)
    PLOTS[plot](world)
    return plot, world


def attempt(seed: int, wish: Wish) -> Story | None:
    """One story from one stream of chance; None if it misses the wish or the length."""
    draw = Draw(seed, wish)
    plot, world = simulate(draw)
    if wish.noun and wish.noun not in world.taken:
        return None
    narrator = Narrator(draw)
    talk = draw.chance(0.85) or bool(wish.features and "Dialogue" in wish.features)
    text = narrate(narrator, world, talk)
    if not MIN_WORDS <= len(text.split()) <= MAX_WORDS:
        return None
    shown = {**world.features, **({"Dialogue": None} if '"' in text else {})}
    words = asked_words(narrator, wish)
    if words is None or any(f not in shown for f in wish.features or ()):
        return None
    summary, roles = world.summary
    return Story(
        text=text,
        words=words,
        features=tuple(f for f in FEATURES if f in shown),
        summary=grammar.capital(plainly(world, summary, roles)),
        facts=facts_of(world, narrator.introduced),
        plot=plot,
    )


def asked_words(narrator: Narrator, wish: Wish) -> tuple[str, str, str] | None:
    """A verb, a noun and an adjective that the telling used, the wished ones if there are any."""
    chosen = []
    for used, wished in (
        (narrator.verbs, wish.verb),
        (narrator.nouns, wish.noun),
        (narrator.adjectives, wish.adjective),
    ):
        if wished is not None and wished not in used:
            return None
        telling = [word for word in used if word not in DULL]
        if not telling:
            return None
        chosen.append(wished or narrator.draw.pick(telling))
    verb, noun, adjective = chosen
    return verb, noun, adjective


def stream_seed(seed: int, index: int, number: int) -> int:
    """The seed of an attempt: the same on every machine."""
    digest = hashlib.sha256(f"{seed}/{index}/{number}".encode()).digest()
    return int.from_bytes(digest[:8], "big")


def tell(
    seed: int,
    index: int,
    *,
    words: Sequence[str | None] | None = None,
    features: Sequence[str] | None = None,
) -> Story:
    """Story number `index` of the world `seed`: always the same story.

    `words` asks for a verb, a noun and an adjective (None leaves one to chance), `features` for
    features the plot must show. Raises UserError when no story of this world can do that.
    """
    verb, noun, adjective = words or (None, None, None)
    for kind, word in (("verb", verb), ("noun", noun), ("adjective", adjective)):
        if word is not None and word not in lexicon.VOCABULARY[kind]:
            hint = nearest(word, lexicon.VOCABULARY[kind])
            raise UserError(f"the story world does not know the {kind} '{word}'{hint}; choose another")
    wish = Wish(verb, noun, adjective, None if features is None else tuple(features))
    for number in range(MAX_ATTEMPTS):
        story = attempt(stream_seed(seed, index, number), wish)
        if story is not None:
            return story
    raise UserError(
        f"no story found with the words {verb}, {noun}, {adjective} and features "
        f"{list(features or ())} in the story world; leave one of them to chance (None)"
    )


def stories(count: int, seed: int = 0, start: int = 0) -> Iterator[Story]:
    """Yields `count` stories of the world `seed` from number `start` on, none of them twice."""
    seen: set[bytes] = set()
    index = start
    while len(seen) < count:
        story = tell(seed, index)
        index += 1
        digest = hashlib.sha256(story.text.encode()).digest()[:12]
        if digest not in seen:
            seen.add(digest)
            yield story
