"""The plot shapes: short scripts over events, in modules by theme."""

from tinyjax.stories.world.plots import dangers, doing, friends, things
from tinyjax.stories.world.plots.script import PLOTS

__all__ = ["PLOTS", "dangers", "doing", "friends", "things"]
