"""Questions about a story with answers true of its history and its last state."""

from __future__ import annotations

import dataclasses
import functools

from tinyjax.stories.world.narrator import Narrator, Telling, compile_telling
from tinyjax.stories.world.simulation import World

MOST_FACTS = 6


@dataclasses.dataclass(frozen=True)
class Fact:
    """A question a reader of the story can answer, and its one right answer."""

    question: str
    answer: str


compiled = functools.lru_cache(maxsize=None)(compile_telling)


def plainly(w: World, text: str, roles: dict) -> str:
    """Renders a telling out of the story: names, no introductions."""
    narrator = Narrator(w.draw, introduces=False)
    telling: Telling = compiled(text)
    return narrator.render(telling.parts, roles)


def end_questions(w: World, told: dict) -> list[tuple[str, str, dict]]:
    """What is so at the end: who holds what, where it lies, who is where, who feels how."""
    state, asked = w.state, []
    for thing in w.things:
        if thing not in told or thing not in w.placed or state.is_so.get((thing, "gone")):
            continue
        if thing in state.holder:
            asked.append(("Who has {X} at the end?", "{A}", {"X": thing, "A": state.holder[thing]}))
        elif thing in state.lies:
            asked.append(("Where is {X} at the end?", "{R:in}", {"X": thing, "R": state.lies[thing]}))
    for who in w.cast:
        if who not in told:
            continue
        if who in w.placed and who in state.at:
            asked.append(("Where is {A} at the end?", "{P:in}", {"A": who, "P": state.at[who]}))
        if who in state.feels and w.feels_now(who):
            asked.append(("How does {A} feel at the end?", "{F}", {"A": who, "F": state.feels[who]}))
    return asked


def facts_of(w: World, told: dict) -> tuple[Fact, ...]:
    """Up to six facts; a question with more than one answer is left out."""
    answers: dict[str, str] = {}
    ambiguous: dict[str, None] = {}
    for question, answer, roles in [*end_questions(w, told), *w.asks]:
        asked, answered = plainly(w, question, roles), plainly(w, answer, roles)
        if answers.setdefault(asked, answered) != answered:
            ambiguous[asked] = None
    facts = [Fact(q, a) for q, a in answers.items() if q not in ambiguous]
    while len(facts) > MOST_FACTS:
        facts.pop(int(w.draw.random() * len(facts)))
    return tuple(facts)
