"""The state of a story world: who is where, holds what, feels how; and its simple logic.

Events speak of the state in short sentences over role letters, "A has X; A near B": `needs` must
hold before an event, `makes` holds after it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any


class ImpossibleError(Exception):
    """An event was asked for whose needs do not hold: a mistake in a plot."""


@dataclasses.dataclass(eq=False, frozen=True)
class Character:
    """Someone who acts: a child, a grown-up or a talking animal."""

    name: str  # how others speak of them: "Lily", "Mom", "the owl"
    noun: str  # what they are: "girl", "owl"
    pronoun: str  # "she" or "he"
    adjective: str = ""
    moves: tuple[str, ...] = ()
    tags: frozenset[str] = frozenset()
    kin: str = ""  # what they are to `kin_of`: "friend", "mom"
    kin_of: Character | None = None

    @property
    def named(self) -> bool:
        """Whether they have a name of their own."""
        return not self.name.startswith("the ")


@dataclasses.dataclass(eq=False, frozen=True)
class Thing:
    """Something that can be held, wanted, lost, broken or eaten."""

    noun: str
    adjective: str
    uses: tuple[str, ...] = ()
    mass: bool = False
    owner: Character | None = None
    group: str = ""


@dataclasses.dataclass(eq=False, frozen=True)
class Place:
    """Somewhere to be; a spot ("under the bench") lies within another place."""

    noun: str
    preposition: str
    adjective: str = ""
    within: Place | None = None


HOME = Place("home", "at")  # the hero's


def another_home() -> Place:
    """The home of someone who does not live with the hero."""
    return Place("home", "at")


@dataclasses.dataclass(eq=False)
class State:
    """What is true now."""

    at: dict[Character, Place] = dataclasses.field(default_factory=dict)
    holder: dict[Thing, Character] = dataclasses.field(default_factory=dict)
    lies: dict[Thing, Place] = dataclasses.field(default_factory=dict)
    feels: dict[Character, str] = dataclasses.field(default_factory=dict)
    is_so: dict[tuple[Any, str], bool] = dataclasses.field(default_factory=dict)

    def place_of(self, one: Character | Thing) -> Place | None:
        """The place (not the spot) where someone or something is."""
        if isinstance(one, Character):
            return self.at.get(one)
        if one in self.holder:
            return self.at.get(self.holder[one])
        spot = self.lies.get(one)
        return spot.within or spot if spot else None

    def near(self, one: Character | Thing, other: Character | Thing) -> bool:
        """Whether two are known to be in the same place."""
        place = self.place_of(one)
        return place is not None and place is self.place_of(other)

    def give(self, who: Character, thing: Thing) -> None:
        """`who` holds `thing` from now on."""
        self.lies.pop(thing, None)
        self.holder[thing] = who

    def lay(self, thing: Thing, spot: Place) -> None:
        """`thing` lies at `spot`, held by nobody."""
        self.holder.pop(thing, None)
        self.lies[thing] = spot

    def leave(self, who: Character) -> None:
        """`who` goes, nobody knows where."""
        self.at.pop(who, None)

    def vanish(self, thing: Thing) -> None:
        """`thing` is eaten, used up or gone for good."""
        self.holder.pop(thing, None)
        self.lies.pop(thing, None)
        self.is_so[thing, "gone"] = True


CHECKS: dict[str, Callable[[State, Any, Any], bool]] = {
    "has": lambda s, a, x: s.holder.get(x) is a,
    "lacks": lambda s, a, x: s.holder.get(x) is not a,
    "at": lambda s, a, p: s.at.get(a) is p,
    "away-from": lambda s, a, p: s.at.get(a) is not p,
    "near": lambda s, a, b: s.near(a, b),
    "is": lambda s, a, what: s.is_so.get((a, what), False),
    "not": lambda s, a, what: not s.is_so.get((a, what), False),
}
EFFECTS: dict[str, Callable[[State, Any, Any], None]] = {
    "has": lambda s, a, x: s.give(a, x),
    "lies": lambda s, x, spot: s.lay(x, spot),
    "at": lambda s, a, p: s.at.__setitem__(a, p),
    "feels": lambda s, a, feeling: s.feels.__setitem__(a, feeling),
    "is": lambda s, a, what: s.is_so.__setitem__((a, what), True),
    "not": lambda s, a, what: s.is_so.__setitem__((a, what), False),
    "leaves": lambda s, a, _: s.leave(a),
    "gone": lambda s, x, _: s.vanish(x),
    "joins": lambda s, a, b: s.at.__setitem__(a, s.at[b]),
}

Clause = tuple[str, str, str]  # subject role, relation, object (a role letter or a plain word)


def clauses(text: str) -> tuple[Clause, ...]:
    """Parses "A has X; X is broken" into (subject, relation, object) triples."""
    triples = []
    for part in text.split(";"):
        if part.strip():
            subject, relation, *rest = part.split()
            if relation not in CHECKS and relation not in EFFECTS:
                raise ValueError(f"unknown relation {relation!r} in {text!r}")
            triples.append((subject, relation, rest[0] if rest else ""))
    return tuple(triples)
