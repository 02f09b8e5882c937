"""What all plots share: the register of plots, ways to lead in, beginnings and endings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import FunctionType

from tinyjax.stories.world import lexicon
from tinyjax.stories.world.simulation import World
from tinyjax.stories.world.state import Character

LIKES = lexicon.VERB_CLASSES["like"]
PLOTS: dict[str, Callable[[World], None]] = {}

SIBLINGS = ("brother", "sister", "little brother", "little sister")

ONE_DAY = (
    "One day,", "One day,", "One {w} day,", "One {w} morning,", "One {w} "
    "afternoon,", "One morning,",
    "On a {w} day,",
)  # fmt: skip
ONE_DULL_DAY = ("One day,", "One morning,", "One afternoon,")
THAT_DAY = ("That day,", "That day,", "First,", "Later that day,", "A little later,")
ONE_NIGHT = ("One night,", "Late one night,", "One dark night,")
NEXT_DAY = ("The next day,", "The next morning,", "The day after,")
LATER = ("Later,", "After a while,", "A little later,", "Soon,")
SOON = ("Soon,", "Just then,", "Then,")
SUDDENLY = ("Suddenly,", "All of a sudden,", "Just then,")
BUT = ("But", "But then")
SO = ("So", "So")
AT_LAST = ("At last,", "Finally,", "In the end,")
THEN = ("Then", "Then", "After that,")
THAT_NIGHT = ("That night,", "When it was dark,", "Late that night,")


def plot(tell: FunctionType) -> Callable[[World], None]:
    """Registers a plot shape under its function's name."""
    PLOTS[tell.__name__] = tell
    return tell


def start(w: World, hero: Character, likes: float = 0.5) -> None:
    """An opening, and perhaps what the hero likes."""
    liked = w.draw.verb(LIKES)
    also = w.draw.pick([verb for verb in LIKES if verb != liked])
    opening = w.draw.pick(("open", "open", "open_like", "open_day"))
    if opening == "open_day":
        w.leads = {ONE_DAY: THAT_DAY, ONE_DULL_DAY: THAT_DAY, ONE_NIGHT: THAT_NIGHT}
    w.do(opening, hero, w.region(hero), liked, w.weather)
    if opening != "open_like" and w.draw.chance(likes):
        w.do("like", hero, liked, also)


def lesson(w: World, hero: Character, morals: Sequence[str], share: float = 0.55) -> None:
    """Perhaps a moral, drawn from what happened."""
    if w.wanted("MoralValue", share):
        w.do("moral", hero, w.draw.pick(morals))


def happy_end(w: World, hero: Character, friend: Character | None = None, feeling: str = "happy") -> None:
    """How the hero feels at the end, and perhaps a closing line."""
    w.do("feel_inside", hero, w.feel(feeling))
    if not w.draw.chance(0.6):
        return
    if friend is not None and "grown" not in friend.tags and w.state.near(hero, friend):
        w.do("close_together", hero, friend)
    else:
        w.do("close_alone", hero)
