"""The kinds of event, in modules by theme."""

from tinyjax.stories.world.events import common, dangers, doing, friends, things
from tinyjax.stories.world.events.table import EVENTS, Event

__all__ = ["EVENTS", "Event", "common", "dangers", "doing", "friends", "things"]
