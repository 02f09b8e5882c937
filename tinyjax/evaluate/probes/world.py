"""Questions and continuations about stories of the story world, with answers true of its state.

A story, then what is asked about it: "At the end, Lily was ___" or "Where is Lily at the end? ___". The
wrong answers are others of the same story; only feelings are added to, since few stories tell of three.
"""

import itertools
import re
from collections.abc import Iterator, Sequence

from tinyjax.evaluate.probes.items import Item
from tinyjax.stories.world import Fact, Story, attempt, grammar, simulate, stream_seed, tell
from tinyjax.stories.world.facts import plainly
from tinyjax.stories.world.lexicon import FEELINGS
from tinyjax.stories.world.simulation import Draw, Wish, World
from tinyjax.stories.world.state import Place

SEED = 7_305_759  # a world that `prepare` doesn't tell of unless it is asked for it
QUESTIONS = "world/questions"
PER_GROUP = 100
_MOST = 3  # wrong answers
_AT_HOME = frozenset({"home", "garden", "yard", "kitchen", "attic"})
# Families of feelings.
_GOOD = ("happy", "proud", "excited", "relieved", "calm")
_BAD = ("sad", "lonely", "scared", "worried", "angry", "sorry", "disappointed", "jealous")

# Questions that can also be put as the beginning of an answer: group, pattern, beginning.
_FORMS = (
    ("world/place", r"Where is (.+) at the end\?", r"At the end, \1 was"),
    ("world/owner", r"Who has (.+) at the end\?", r"At the end, the one who had \1 was"),
    ("world/feeling", r"How does (.+) feel at the end\?", r"At the end, \1 felt"),
    ("world/deed", r"Who ((?!did (?!not )).+)\?", r"The one who \1 was"),
)
GROUPS = (*(group for group, _, _ in _FORMS), QUESTIONS)


def world_items(per_group: int = PER_GROUP, seed: int = SEED) -> list[Item]:
    """Returns what is asked about stories of a world: always the same items.

    Args:
      per_group: how many items there are in each group.
      seed: of the world, which the model should not have been trained on.
    """
    groups: dict[str, list[Item]] = {group: [] for group in GROUPS}
    for index in itertools.count():
        for item in _items(seed, index):
            groups[item.group].append(item)
        if min(map(len, groups.values())) >= per_group:
            break
    return [item for items in groups.values() for item in items[:per_group]]


def tell_with_world(seed: int, index: int) -> tuple[Story, World, Draw]:
    """Returns a story of `tinyjax.stories.world.tell`, what happened in it, and chance that goes by both."""
    story = tell(seed, index)
    streams = (stream_seed(seed, index, number) for number in itertools.count())
    stream = next(stream for stream in streams if attempt(stream, Wish()) == story)
    return story, simulate(Draw(stream))[1], Draw(stream)


def _items(seed: int, index: int) -> Iterator[Item]:
    """Yields the items of a story: every other fact as a question, where it can be put otherwise."""
    story, world, draw = tell_with_world(seed, index)
    for number, fact in enumerate(story.facts, index):
        wrong = wrong_answers(story, world, fact, draw)
        if not wrong:
            continue
        form = _form(fact.question)
        if form and number % 2:
            group, beginning = form
            yield Item(group, f"{story.text}\n\n{beginning}", f"{fact.answer}.", _sentences(wrong))
        else:
            asked = f"{story.text}\n\n{fact.question}"
            right = grammar.capital(f"{fact.answer}.")
            yield Item(QUESTIONS, asked, right, tuple(map(grammar.capital, _sentences(wrong))))


def _sentences(answers: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{answer}." for answer in answers)


def _form(question: str) -> tuple[str, str] | None:
    """Returns the group and the beginning of a question's answer, if it has one."""
    for group, pattern, beginning in _FORMS:
        if match := re.fullmatch(pattern, question):
            return group, match.expand(beginning)
    return None


def wrong_answers(story: Story, world: World, fact: Fact, draw: Draw) -> list[str]:
    """Returns up to three answers of the same kind as the right one, none of which is true."""
    if fact.question.startswith("How does "):
        return _other_feelings(story, fact.answer, draw)
    places = _places(story, world)
    if fact.answer in places:
        here = places[fact.answer]
        others = [name for name, place in places.items() if not _overlap(place, here)]
    elif fact.answer in (people := _people(story, world)):
        others = [name for name in people if name != fact.answer and name not in fact.question]
    elif fact.answer in (things := _things(story, world)):
        others = [thing for thing in things if thing != fact.answer]
    else:
        return []
    return draw.sample(others, min(len(others), _MOST))


def _told(story: Story, noun: str) -> bool:
    return re.search(rf"\b{re.escape(noun)}\b", story.text) is not None


def _people(story: Story, world: World) -> list[str]:
    return [who.name for who in world.cast if _told(story, who.name.removeprefix("the "))]


def _things(story: Story, world: World) -> list[str]:
    return [f"the {thing.noun}" for thing in world.things if _told(story, thing.noun)]


def _places(story: Story, world: World) -> dict[str, Place]:
    """Returns the places where someone or something has been, as answers name them, that a story tells of."""
    been = [
        happening.roles[where]
        for happening in world.history
        for _, relation, where in happening.event.makes
        if relation in ("at", "lies")
    ]
    return {plainly(world, "{P:in}", {"P": place}): place for place in been if _told(story, place.noun)}


def _overlap(one: Place, other: Place) -> bool:
    """Returns whether who is at one of two places may be at the other too."""
    if one.within and other.within:
        return one is other
    grounds = {(place.within or place).noun for place in (one, other)}
    return len(grounds) == 1 or grounds <= _AT_HOME


def _other_feelings(story: Story, feeling: str, draw: Draw) -> list[str]:
    """Returns feelings that can't be taken for the given one: bad for good, good for bad."""
    good, bad = ([word for family in families for word in FEELINGS[family]] for families in (_GOOD, _BAD))
    if feeling not in good + bad:
        return []
    # Words of several families are drawn more often, as they are told more often.
    opposite = bad if feeling in good else good
    others = draw.sample(opposite, len(opposite))
    return sorted(dict.fromkeys(others), key=lambda word: not _told(story, word))[:_MOST]
