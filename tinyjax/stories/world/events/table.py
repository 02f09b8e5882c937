"""What can happen: every kind of event with its needs, its effects and the ways to tell it.

`event(name, roles, needs, makes, tellings...)`: roles are letters (A-D characters, X-Z things, P-R
places, F-G feelings, others plain words); see `state` for the logic and `narrator` for the tellings.
`asks` are questions whose answers the event makes true for good; `shows` are story features.
"""

from __future__ import annotations

import dataclasses

from tinyjax.stories.world.narrator import Telling, compile_all
from tinyjax.stories.world.state import Clause, clauses

Ask = tuple[str, str]


@dataclasses.dataclass(frozen=True)
class Event:
    """A kind of event."""

    name: str
    roles: tuple[str, ...]
    needs: tuple[Clause, ...]
    makes: tuple[Clause, ...]
    tellings: tuple[tuple[Telling, ...], ...]
    plain: tuple[tuple[Telling, ...], ...]  # the tellings without quoted speech
    asks: tuple[Ask, ...]
    shows: tuple[str, ...]


EVENTS: dict[str, Event] = {}


def event(
    name: str,
    roles: str,
    needs: str,
    makes: str,
    *texts: str,
    asks: tuple[Ask, ...] = (),
    shows: tuple[str, ...] = (),
) -> None:
    """Defines a kind of event."""
    tellings = compile_all(texts)
    plain = tuple(kept for group in tellings if (kept := tuple(t for t in group if not t.quoted)))
    EVENTS[name] = Event(
        name, tuple(roles.split()), clauses(needs), clauses(makes), tellings, plain, asks, shows
    )  # fmt: skip
