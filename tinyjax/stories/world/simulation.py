"""The simulation: draws a cast, things and places, and makes events happen in the state."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from typing import Any, TypeVar

from tinyjax.stories.world import lexicon
from tinyjax.stories.world.events import EVENTS, Event
from tinyjax.stories.world.state import CHECKS, EFFECTS, HOME, Character, ImpossibleError, Place, State, Thing

T = TypeVar("T")
AFTERWORDS = ("moral", "close_together", "close_alone", "sleep_well")  # change no feeling
FEATURES = ("Dialogue", "Twist", "BadEnding", "MoralValue", "Foreshadowing", "Conflict")


@dataclasses.dataclass(frozen=True)
class Wish:
    """What a story is asked for; None leaves it to chance."""

    verb: str | None = None
    noun: str | None = None
    adjective: str | None = None
    features: tuple[str, ...] | None = None


class Draw:
    """Random choices from one stream, bent towards the wished words where they fit."""

    def __init__(self, seed: int, wish: Wish | None = None):
        self.random = random.Random(seed).random
        self.wish = wish or Wish()

    def pick(self, options: Sequence[T]) -> T:
        """One of the options."""
        return options[int(self.random() * len(options))]

    def chance(self, share: float) -> bool:
        """True with probability `share`."""
        return self.random() < share

    def sample(self, options: Sequence[T], count: int) -> list[T]:
        """`count` different options, in random order."""
        pool = list(options)
        return [pool.pop(int(self.random() * len(pool))) for _ in range(count)]

    def verb(self, phrases: Sequence[str]) -> str:
        """One of the verb phrases, the wished one if it is among them."""
        if self.wish.verb is not None:
            for phrase in phrases:
                if phrase.split()[0] == self.wish.verb:
                    return phrase
        return self.pick(phrases)

    def noun(self, words: Sequence[str]) -> str:
        """One of the nouns, the wished one if it is among them."""
        wished = self.wish.noun
        return wished if wished is not None and wished in words else self.pick(words)

    def adjective(self, words: Sequence[str]) -> str:
        """One of the adjectives, the wished one if it is among them."""
        wished = self.wish.adjective
        return wished if wished is not None and wished in words else self.pick(words)


@dataclasses.dataclass(frozen=True)
class Happening:
    """An event that took place: who and what had which role in it, and how its telling is led in."""

    event: Event
    roles: dict[str, Any]
    lead: str
    paragraph: bool


class World:
    """A story in the making: cast, state, and the history so far. Plots call its methods."""

    def __init__(self, draw: Draw):
        self.draw = draw
        self.state = State()
        self.history: list[Happening] = []
        self.features: dict[str, None] = {}
        self.taken: dict[str, None] = {}  # names and nouns in use: one ball, one Tom
        self.cast: list[Character] = []
        self.things: list[Thing] = []
        self.asks: list[tuple[str, str, dict[str, Any]]] = []
        self.summary: tuple[str, dict[str, Any]] = ("", {})
        self.placed: dict[Any, bool] = {}  # whose whereabouts an event has told
        self.weather = draw.adjective(lexicon.WEATHER)
        self.new_paragraph = False
        self.leads: dict[tuple[str, ...], tuple[str, ...]] = {}  # leads to replace by others

    # Casting

    def free(self, words: Sequence[str]) -> list[str]:
        """The words not yet in use in this story."""
        return [w for w in words if w not in self.taken]

    def noun(self, words: Sequence[str]) -> str:
        """A noun not yet in use."""
        word = self.draw.noun(self.free(words))
        self.taken[word] = None
        return word

    def named(self, names: Sequence[str]) -> str:
        """A name not yet in use."""
        name = self.draw.pick([n for n in self.free(names) if n.lower() not in self.taken])
        self.taken[name] = self.taken[name.lower()] = None
        return name

    def join(self, who: Character, place: Place | None) -> Character:
        """Adds `who` to the cast, at `place`."""
        self.cast.append(who)
        if place is not None:
            self.state.at[who] = place
        return who

    def child(self, place: Place | None = HOME, adjective: str | None = None, **kin: Any) -> Character:
        """A child with a name."""
        lead = self.cast[0].pronoun if self.cast else ""
        girl = self.draw.chance({"": 0.5, "she": 0.25, "he": 0.75}[lead])
        if kin.get("kin") in ("brother", "little brother"):
            girl = False
        if kin.get("kin") in ("sister", "little sister"):
            girl = True
        name = self.named(lexicon.GIRLS if girl else lexicon.BOYS)
        trait = self.draw.adjective(lexicon.TRAITS) if adjective is None else adjective
        who = Character(
            name, "girl" if girl else "boy", "she" if girl else "he", trait,
            tuple(lexicon.VERB_CLASSES["go"]), frozenset({"human", "child"}), **kin,
        )  # fmt: skip
        return self.join(who, place)

    def animal(
        self,
        place: Place | None = HOME,
        tag: str = "",
        adjective: str | None = None,
        named: bool = False,
        without: str = "",
        nouns: Sequence[str] = (),
        **kin: Any,
    ) -> Character:
        """A talking animal, with a name of its own or "the owl"."""
        pool = nouns or [
            a
            for a, tags in lexicon.ANIMAL_TAGS.items()
            if (not tag or tag in tags) and (not without or without not in tags)
        ]
        word = self.noun(pool)
        lead = self.cast[0].pronoun if self.cast else ""
        female = self.draw.chance({"": 0.5, "she": 0.2, "he": 0.8}[lead])
        pronoun = "she" if female or "she" in lexicon.ANIMAL_TAGS[word] else "he"
        entry = lexicon.ANIMAL_NOUNS[word]
        if adjective is None:
            looks = entry.adjectives
            if "big" in lexicon.ANIMAL_TAGS[word]:
                looks = [a for a in looks if a not in ("tiny", "small")]
            pool = lexicon.TRAITS if self.draw.chance(0.5) else looks
            adjective = self.draw.adjective(pool)
        name = self.named(lexicon.PETS) if named else f"the {word}"
        tags = lexicon.ANIMAL_TAGS[word] | {"animal"}
        return self.join(Character(name, word, pronoun, adjective, entry.uses, tags, **kin), place)

    def hero(self, adjective: str | None = None, kinds: str = "child animal") -> Character:
        """The one the story is about, at home."""
        animal = "animal" in kinds and (kinds == "animal" or self.draw.chance(0.4))
        if animal:
            return self.animal(tag="ground", adjective=adjective, named=True)
        return self.child(adjective=adjective)

    def friend(self, of: Character, place: Place | None = None, kin: str = "") -> Character:
        """A friend (or brother, sister) of someone; nowhere yet unless `place` is given."""
        adjective = self.draw.adjective(lexicon.GOOD_FRIEND) if self.draw.chance(0.4) else ""
        if "human" in of.tags:
            kin = kin or self.draw.pick(("friend", "friend", "best friend"))
            return self.child(place, adjective, kin=kin, kin_of=of)
        return self.animal(place, tag="ground", named=True, adjective=adjective, kin="friend", kin_of=of)

    def parent(self, of: Character, place: Place | None = HOME) -> Character:
        """Mom, Dad, Grandma or Grandpa."""
        name = self.draw.pick(("Mom", "Mom", "Dad", "Grandma", "Grandpa"))
        pronoun = "she" if name in ("Mom", "Grandma") else "he"
        moves = ("walk", "hurry", "rush", "stroll") if "human" in of.tags else of.moves
        tags = frozenset({"grown"}) | (of.tags & {"human", "animal"})
        kin = name.lower()
        who = Character(name, kin, pronoun, "", moves, tags, kin, kin_of=of)
        return self.join(who, place)

    def person(
        self, place: Place | None, nouns: Sequence[str] = (), adjective: str | None = None
    ) -> Character:
        """A grown-up stranger: a farmer, a baker."""
        word = self.noun(nouns or tuple(lexicon.PEOPLE_NOUNS))
        entry = lexicon.PEOPLE_NOUNS[word]
        adjective = self.draw.adjective(entry.adjectives) if adjective is None else adjective
        who = Character(
            f"the {word}", word, lexicon.PEOPLE_PRONOUNS[word], adjective,
            ("walk", "hurry", "rush", "stroll"), frozenset({"grown", "human"}),
        )  # fmt: skip
        return self.join(who, place)

    def thing(
        self,
        group: str,
        owner: Character | None = None,
        nouns: Sequence[str] = (),
        adjective: str | None = None,
        **where: Any,
    ) -> Thing:
        """A thing of a group (toy, food, ...), perhaps lying or held somewhere from the start."""
        table = lexicon.THINGS[group]
        word = self.noun(nouns or tuple(table))
        entry = table[word]
        adjective = self.draw.adjective(entry.adjectives) if adjective is None else adjective
        made = Thing(word, adjective, entry.uses, entry.mass, owner, group)
        self.things.append(made)
        if "held_by" in where:
            self.state.holder[made] = where["held_by"]
        if "at" in where:
            self.state.lies[made] = where["at"]
        return made

    def place(self, pool: Sequence[str] = lexicon.OUTDOORS) -> Place:
        """A place not yet in the story."""
        word = self.noun(pool)
        preposition, adjectives, _ = lexicon.PLACE_TABLE[word]
        fresh = [a for a in adjectives if a != self.weather]
        return Place(word, preposition, self.draw.adjective(fresh))

    def spot(self, place: Place) -> Place:
        """A spot within a place not yet in the story: under the bench."""
        spots = {word: p for word, p in lexicon.PLACE_TABLE[place.noun][2] if word not in self.taken}
        word = self.noun(tuple(spots))
        adjective = self.draw.adjective(lexicon.SPOT_ADJECTIVES)
        return Place(word, spots[word], adjective, within=place)

    def spot_named(self, place: Place, word: str, preposition: str) -> Place:
        """A given spot within a place."""
        self.taken[word] = None
        return Place(word, preposition, within=place)

    def region(self, of: Character) -> Place:
        """Where someone's home is."""
        prepositions = lexicon.REGIONS["child" if "human" in of.tags else "animal"]
        word = self.noun(tuple(prepositions))
        return Place(word, prepositions[word], self.draw.adjective(lexicon.REGION_ADJECTIVES[word]))

    def feel(self, family: str) -> str:
        """A word for a feeling."""
        return self.draw.adjective(lexicon.FEELINGS[family])

    # What happens

    def do(self, event: str, *roles: Any, lead: tuple[str, ...] = ()) -> None:
        """Makes an event happen: checks what it needs, changes the state, notes it."""
        spec = EVENTS[event]
        bound = dict(zip(spec.roles, roles, strict=True))
        for one, relation, other in spec.needs:
            if not CHECKS[relation](self.state, bound[one], bound.get(other, other)):
                raise ImpossibleError(f"{event}{roles}: needs {one} {relation} {other}")
        for one, relation, other in spec.makes:
            EFFECTS[relation](self.state, bound[one], bound.get(other, other))
            if relation in ("at", "joins", "lies", "has"):
                self.placed[bound[one] if relation != "has" else bound[other]] = True
        for question, answer in spec.asks:
            self.asks.append((question, answer, bound))
        for feature in spec.shows:
            self.features[feature] = None
        lead = self.leads.get(lead, lead)
        lead_text = self.draw.pick(lead) if lead else ""
        if any(lead_text == before.lead for before in self.history[-3:]):
            lead_text = ""
        self.history.append(Happening(spec, bound, lead_text, self.new_paragraph))
        self.new_paragraph = False

    def paragraph(self) -> None:
        """What happens next begins a new paragraph."""
        self.new_paragraph = True

    def shows(self, *features: str) -> None:
        """Notes that the plot shows these features."""
        for feature in features:
            self.features[feature] = None

    def feels_now(self, who: Character) -> bool:
        """Whether the last thing that happened to `who` gave them their feeling."""
        for happening in reversed(self.history):
            if happening.event.name in AFTERWORDS:
                continue
            if who in happening.roles.values():
                return any(relation == "feels" for _, relation, _ in happening.event.makes)
        return False

    def wanted(self, feature: str, share: float = 0.5) -> bool:
        """Whether to take the branch that shows `feature`."""
        if self.draw.wish.features is not None and feature in self.draw.wish.features:
            return True
        return self.draw.chance(share)

    def summarize(self, text: str, **roles: Any) -> None:
        """Sets the one-line summary."""
        self.summary = (text, roles)
