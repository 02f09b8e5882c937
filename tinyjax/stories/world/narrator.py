"""Tells what happened in simple English: compiles the tellings of events and renders them.

A telling is a sentence or a few with tokens in braces and brackets:

    {A} {A:o} {A:p}   a character as subject, object, possessor: a name, or a pronoun where it is clear
    {A:n}             always the name;  {A:he} {A:him} {A:his} {A:self}: always that pronoun
    {A:v}             how one calls out to a character: Lily, frog
    {X} {X:a} {X:it}  a thing: the ball, a red ball, it (where clear);  {X:n} ball;  {X:own} her ball
    {P} {P:in} {P:to} a place: the park, in the park, to the park;  {P:a} a quiet park
    {F} {F:very}      a feeling (perhaps very much so) or another plain word
    [V:ing]           a verb phrase in a form (base, past, ing)
    [gave]            a verb of the plot, which a story may be asked for
    [A.go:past]       a way A moves;  [X.use:past] something one does with X;  [shout:past] a class
    <a|b>             either a or b

The first mention of anyone or anything introduces it ("a kind girl named Lily", "a red ball").
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any

from tinyjax.stories.world import grammar, lexicon
from tinyjax.stories.world.state import Character, Place, Thing

OBJECTIVE = {"he": "him", "she": "her"}
POSSESSIVE = {"he": "his", "she": "her"}
REFLEXIVE = {"he": "himself", "she": "herself"}
THEN = ("Then ", "Then ", "Then, ")

Roles = dict[str, Any]
Part = Any  # a literal string or a function of (narrator, roles)


@dataclasses.dataclass(frozen=True)
class Telling:
    """One compiled way to tell an event."""

    parts: tuple[Part, ...]
    verbs: tuple[str, ...]  # plot verbs named in brackets
    quoted: bool
    leadable: bool  # may follow "One day,"
    simple: bool  # "{A} [verb] ...": may be joined to a neighbour with "and"


class Narrator:
    """Renders tellings, keeping track of who and what was mentioned and which words were used."""

    def __init__(self, draw: Any, introduces: bool = True):
        self.draw = draw
        self.introduces = introduces  # False for questions and summaries: names only
        self.sentence = 0
        self.subject: Character | None = None
        self.mentions: dict[Character, int] = {}
        self.introduced: dict[Any, bool] = {}
        self.revealed: dict[Character, bool] = {}  # whose being a he or a she was told
        self.thing: tuple[Thing | None, int] = (None, 0)
        self.verbs: dict[str, None] = {}
        self.nouns: dict[str, None] = {}
        self.adjectives: dict[str, None] = {}

    def render(self, parts: Sequence[Part], roles: Roles) -> str:
        """The text of compiled parts with these roles."""
        return "".join([p if type(p) is str else p(self, roles) for p in parts])

    def next_sentence(self) -> None:
        """A new sentence begins."""
        self.sentence += 1
        self.subject = None

    def next_paragraph(self) -> None:
        """A new paragraph begins: nobody is spoken of as he or she any more."""
        self.next_sentence()
        self.mentions.clear()
        self.thing = (None, 0)

    def clear(self, who: Character) -> bool:
        """Whether a pronoun would mean `who` and nobody else."""
        if not self.introduces:
            return False
        now = self.sentence
        reach = now if self.subject is who else now - 1
        if self.mentions.get(who, -9) < reach:
            return False
        return not any(
            when >= reach
            and other is not who
            and (other.pronoun == who.pronoun or not self.is_revealed(other))
            for other, when in self.mentions.items()
        )

    def is_revealed(self, who: Character) -> bool:
        """Whether a reader knows if `who` is a he or a she: by word, by name or told before."""
        return "animal" not in who.tags or "grown" in who.tags or who in self.revealed

    def reveal(self, who: Character, word: str) -> str:
        """Notes that `word` tells if `who` is a he or a she."""
        self.revealed[who] = True
        return word

    def mention(self, who: Character) -> None:
        """Notes that `who` was spoken of."""
        self.mentions[who] = self.sentence
        if self.subject is None:
            self.subject = who

    def adjective(self, word: str) -> str:
        """Notes an adjective and returns it."""
        self.adjectives[word] = None
        return word

    def noun(self, word: str) -> str:
        """Notes a noun and returns it."""
        self.nouns[word] = None
        return word

    def introduce_kin(self, who: Character, of: Character) -> str:
        """The first mention of a friend or relative: `her kind friend Tom`, `his mom`."""
        text = f"{possessive(self, of)} "
        self.mention(who)
        if "grown" in who.tags:
            return text + who.kin
        if "animal" in who.tags and self.draw.chance(0.5):
            return f"{text}{self.noun(who.noun)} {who.kin} {who.name}"
        adjective = f"{self.adjective(who.adjective)} " if who.adjective else ""
        return f"{text}{adjective}{who.kin} {who.name}"

    def introduce(self, who: Character) -> str:
        """The first mention of a character."""
        self.introduced[who] = True
        if who.kin_of is not None:
            return self.introduce_kin(who, who.kin_of)
        words = [self.adjective(who.adjective)] if who.adjective else []
        self.mention(who)
        if who.adjective in lexicon.OPINIONS and who.named and self.draw.chance(0.5):
            words.append(self.adjective("little"))
        if "human" in who.tags and who.noun in ("girl", "boy"):
            words.append(who.noun)
        else:
            words.append(self.noun(who.noun))
        text = grammar.a(" ".join(words))
        if not who.named:
            return text
        return f"{text} {self.draw.pick(('named', 'named', 'called'))} {who.name}"


def name(n: Narrator, who: Character) -> str:
    """The name, or the introduction if it is the first mention."""
    if n.introduces and who not in n.introduced:
        return n.introduce(who)
    n.mention(who)
    return who.name


def subject(n: Narrator, who: Character) -> str:
    """Name or pronoun as a subject."""
    begins = n.subject is None
    if who in n.introduced and n.clear(who) and (not begins or n.draw.chance(0.75)):
        n.mention(who)
        return n.reveal(who, who.pronoun)
    return name(n, who)


def objective(n: Narrator, who: Character) -> str:
    """Name or pronoun as an object."""
    if who in n.introduced and n.clear(who):
        n.mention(who)
        return n.reveal(who, OBJECTIVE[who.pronoun])
    return name(n, who)


def possessive(n: Narrator, who: Character) -> str:
    """`Lily's`, or `her` where that is clear."""
    if who in n.introduced and n.clear(who):
        n.mention(who)
        return n.reveal(who, POSSESSIVE[who.pronoun])
    return name(n, who) + "'s"


def described(n: Narrator, thing: Thing) -> str:
    """`red ball`, noting the words."""
    n.introduced[thing] = True
    n.thing = (thing, n.sentence)
    n.noun(thing.noun)
    return f"{n.adjective(thing.adjective)} {thing.noun}" if thing.adjective else thing.noun


def indefinite(n: Narrator, thing: Thing) -> str:
    """`a red ball`, `some sweet honey`."""
    words = described(n, thing)
    return f"some {words}" if thing.mass else grammar.a(words)


def definite(n: Narrator, thing: Thing) -> str:
    """`the ball`; at the first mention `a red ball`, or `her red ball` if it has an owner."""
    if n.introduces and thing not in n.introduced:
        if thing.owner is None:
            return indefinite(n, thing)
        return f"{possessive(n, thing.owner)} {described(n, thing)}"
    n.thing = (thing, n.sentence)
    if thing in n.introduced and thing.adjective and n.draw.chance(0.1):
        return f"the {thing.adjective} {thing.noun}"
    return f"the {thing.noun}"


def owned(n: Narrator, thing: Thing) -> str:
    """`her ball`."""
    if thing.owner is None:
        return definite(n, thing)
    owner = possessive(n, thing.owner)
    if n.introduces and thing not in n.introduced:
        return f"{owner} {described(n, thing)}"
    n.thing = (thing, n.sentence)
    return f"{owner} {thing.noun}"


def it(n: Narrator, thing: Thing) -> str:
    """`it` where that is clear, else `the ball`."""
    last, when = n.thing
    if last is thing and when >= n.sentence - 1:
        n.thing = (thing, n.sentence)
        return "it"
    return definite(n, thing)


def place_name(n: Narrator, place: Place) -> str:
    """`the park`."""
    if place.noun == "home":
        return "home"
    n.noun(place.noun)
    if n.introduces and place.adjective and not place.within and place not in n.introduced:
        n.introduced[place] = True
        if n.draw.chance(0.35):
            return f"the {n.adjective(place.adjective)} {place.noun}"
    return f"the {place.noun}"


def place_described(n: Narrator, place: Place) -> str:
    """`a quiet park`."""
    n.noun(place.noun)
    return grammar.a(f"{n.adjective(place.adjective)} {place.noun}" if place.adjective else place.noun)


def place_in(n: Narrator, place: Place) -> str:
    """`in the park`, `under the bench`, `at home`."""
    if n.introduces and place.within is not None and place not in n.introduced:
        n.introduced[place] = True
        return f"{place.preposition} {place_described(n, place)}"
    return f"{place.preposition} {place_name(n, place)}"


def place_to(n: Narrator, place: Place) -> str:
    """`to the park`, `home`."""
    return "home" if place.noun == "home" else f"to {place_name(n, place)}"


def place_in_a(n: Narrator, place: Place) -> str:
    """`in a quiet village`."""
    return f"{place.preposition} {place_described(n, place)}"


def bare(n: Narrator, one: Any) -> str:
    """The bare noun (`ball`) of a thing or place."""
    return n.noun(one.noun)


CHARACTER_OPS: dict[str, Callable[[Narrator, Any], str]] = {
    "": subject,
    "o": objective,
    "p": possessive,
    "n": name,
    "a": name,
    "he": lambda n, who: n.reveal(who, who.pronoun),
    "him": lambda n, who: n.reveal(who, OBJECTIVE[who.pronoun]),
    "his": lambda n, who: n.reveal(who, POSSESSIVE[who.pronoun]),
    "self": lambda n, who: n.reveal(who, REFLEXIVE[who.pronoun]),
    "v": lambda n, who: who.name if who.named else who.noun,
    "noun": lambda n, who: n.noun(who.noun),
}
THING_OPS: dict[str, Callable[[Narrator, Any], str]] = {
    "": definite,
    "a": indefinite,
    "it": it,
    "n": bare,
    "own": owned,
    "an": described,
}
PLACE_OPS: dict[str, Callable[[Narrator, Any], str]] = {
    "": place_name,
    "in": place_in,
    "to": place_to,
    "a": place_described,
    "ina": place_in_a,
    "n": bare,
}
OPS = dict.fromkeys("ABCD", CHARACTER_OPS) | dict.fromkeys("XYZ", THING_OPS)
OPS |= dict.fromkeys("PQR", PLACE_OPS)

TOKEN = re.compile(r"\{(\w)(?::(\w+))?\}|\[([\w.\- ]+)(?::(\w+))?\]")
ALTERNATIVES = re.compile(r"<([^<>]*)>")
SPEECH_TAG = r"\{\w(?::\w+)?\} \[(?:said|asked|cried|shouted|whispered|told)\]"
SENTENCE_END = re.compile(rf'(?:[.!?]|\."|[!?]"(?! {SPEECH_TAG})) (?=["A-Z{{])')


def verb_table(bases: Sequence[str]) -> dict[str, str]:
    """Maps each form of each base verb to its base."""
    return {form: base for base in bases for form in grammar.forms(base)}


VERB_OF = verb_table(lexicon.VERBS)


def intensified(n: Narrator, feeling: str) -> str:
    """A feeling with or without very or so: very happy, so delighted."""
    words = ("", "so ") if feeling in lexicon.EXTREME else ("", "", "very ", "so ")
    return n.draw.pick(words) + n.adjective(feeling)


def word_part(letter: str, form: str) -> Part:
    """A feeling or other plain word ({F}), or a verb phrase in a form ([V:ing])."""
    if form == "a":
        return lambda n, roles: grammar.a(n.adjective(roles[letter]))
    if form == "very":
        return lambda n, roles: intensified(n, roles[letter])
    if form:

        def verb_phrase(n: Narrator, roles: Roles) -> str:
            n.verbs[roles[letter].split()[0]] = None
            return grammar.phrase(roles[letter], form)

        return verb_phrase
    if letter in "FG":
        return lambda n, roles: n.adjective(roles[letter])
    return lambda n, roles: roles[letter]


def role_part(letter: str, op: str) -> Part:
    """A reference to a role, {A:p}."""
    if letter not in OPS:
        return word_part(letter, op)
    act = OPS[letter][op]
    return lambda n, roles: act(n, roles[letter])


def chosen_part(what: str, form: str) -> Part:
    """A verb drawn from a class: [A.go:past], [X.use:ing], [shout:past]."""
    head, _, attribute = what.partition(".")

    def choose(n: Narrator, roles: Roles) -> str:
        if attribute == "go":
            pool = roles[head].moves
        elif attribute == "use":
            pool = roles[head].uses
        else:
            pool = lexicon.VERB_CLASSES[head]
        chosen = n.draw.verb(pool)
        n.verbs[chosen.split()[0]] = None
        return grammar.phrase(chosen, form)

    return choose


def capitalised(part: Part) -> Part:
    """The part at the start of a sentence."""
    return lambda n, roles: grammar.capital(part(n, roles))


def begin_sentence(n: Narrator, roles: Roles) -> str:
    """Marks a sentence boundary inside a telling."""
    n.next_sentence()
    return ""


def compile_sentence(text: str, first: bool) -> tuple[list[Part], list[str]]:
    """The parts of one sentence and the plot verbs it names."""
    parts: list[Part] = [] if first else [begin_sentence]
    verbs, end = [], 0
    for match in TOKEN.finditer(text):
        literal = text[end : match.start()]
        if literal:
            parts.append(literal)
        letter, op, verb, form = match.groups()
        opens_quote = literal.endswith('"') and text[: match.start()].count('"') % 2 == 1
        if letter:
            part = role_part(letter, op or "")
        elif form:
            part = word_part(verb, form) if len(verb) == 1 else chosen_part(verb, form)
        else:
            verbs.append(VERB_OF[verb.split()[0].lower()])
            part = verb
        if opens_quote or (match.start() == 0 and not first):
            part = grammar.capital(part) if type(part) is str else capitalised(part)
        parts.append(part)
        end = match.end()
    if text[end:]:
        parts.append(text[end:])
    return parts, verbs


def split_sentences(text: str) -> list[str]:
    """Splits after each sentence end, keeping the space at the end of the earlier one."""
    cuts = [0, *(m.end() for m in SENTENCE_END.finditer(text)), len(text)]
    return [text[i:j] for i, j in itertools.pairwise(cuts)]


def compile_telling(text: str) -> Telling:
    """Compiles one telling without alternatives."""
    parts: list[Part] = []
    verbs: list[str] = []
    for i, sentence in enumerate(split_sentences(text)):
        more, named = compile_sentence(sentence, first=i == 0)
        parts += more
        verbs += named
    leadable = text[0] == "{" or text[0].islower()
    simple = text.startswith("{A} [") and not re.search(r"[,\"!?]| and | but |\. ", text)
    return Telling(tuple(parts), tuple(verbs), '"' in text, leadable, simple)


def expand(text: str) -> list[str]:
    """All readings of <a|b> alternatives."""
    pieces = ALTERNATIVES.split(text)
    options = [p.split("|") if i % 2 else [p] for i, p in enumerate(pieces)]
    return ["".join(choice) for choice in itertools.product(*options)]


def compile_all(texts: Sequence[str]) -> tuple[tuple[Telling, ...], ...]:
    """Compiles tellings, each with all readings of its alternatives."""
    return tuple(tuple(compile_telling(t) for t in expand(text)) for text in texts)


def choose_telling(n: Narrator, happening: Any, talk: bool) -> Telling:
    """One of the tellings of what happened: with a wished verb, without speech, after a lead."""
    event = happening.event
    groups = event.tellings if talk or not event.plain else event.plain
    wished = n.draw.wish.verb
    if wished is not None and wished not in n.verbs:
        able = [t for group in groups for t in group if wished in t.verbs]
        if able:
            return n.draw.pick(able)
    if happening.lead:
        able = [group for group in groups if group[0].leadable]
        groups = able or groups
    return n.draw.pick(n.draw.pick(groups))


def told_lead(n: Narrator, lead: str, weather: str) -> str:
    """The words a telling is led in with: "One sunny day, "."""
    if "{w}" in lead:
        lead = lead.replace("{w}", n.adjective(weather))
    return lead + " "


def narrate(n: Narrator, world: Any, talk: bool) -> str:
    """Tells a whole history as paragraphs of text."""
    paragraphs: list[list[str]] = [[]]
    earlier: tuple[Any, Telling] | None = None
    spoke: Character | None = None  # whose speech came last: they do not speak twice in a row
    for happening in world.history:
        if happening.paragraph and paragraphs[-1]:
            paragraphs.append([])
            n.next_paragraph()
            earlier = None
        again = spoke is not None and spoke is happening.roles.get("A")
        told = choose_telling(n, happening, talk and not again)
        spoke = happening.roles.get("A") if told.quoted else None
        n.verbs.update(dict.fromkeys(told.verbs))
        sentences = paragraphs[-1]
        if joins(n, earlier, happening, told):
            sentences[-1] = f"{sentences[-1][:-1]} and{n.render(told.parts[1:], happening.roles)}"
            earlier = None
            continue
        n.next_sentence()
        lead = ""
        if happening.lead and told.leadable:
            lead = told_lead(n, happening.lead, world.weather)
        elif sentences and told.simple and happening.event.makes and n.draw.chance(0.12):
            lead = n.draw.pick(THEN)
        sentences.append(grammar.capital(lead + n.render(told.parts, happening.roles)))
        earlier = (happening, told) if told.simple else None
    return "\n\n".join(" ".join(sentences) for sentences in paragraphs)


def joins(n: Narrator, earlier: Any, happening: Any, told: Telling) -> bool:
    """Whether two plain sentences about the same person become one with "and"."""
    if earlier is None or happening.lead or not told.simple:
        return False
    before, _ = earlier
    return before.roles["A"] is happening.roles["A"] and n.draw.chance(0.4)
