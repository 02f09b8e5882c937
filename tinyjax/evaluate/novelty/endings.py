"""Stories that are cut, so that a model tells their endings anew."""

from collections.abc import Callable, Sequence

import numpy as np
from etils import epath

from tinyjax.evaluate.novelty.words import Cut, cut_story
from tinyjax.sample.model import Model
from tinyjax.stories.examples import read_texts

_CANDIDATES = 50  # stories that are read for each one that is drawn: most of a large set isn't


def draw_cuts(
    shards: Sequence[epath.Path], stories: int, count: int, seed: int, fits: Callable[[str], bool]
) -> list[Cut]:
    """Returns stories cut after 40 % of their words, drawn at random, no two with the same beginning.

    Args:
      shards: of the stories.
      stories: how many there are in all shards.
      count: how many to draw; there are fewer where no more of them can be cut.
      seed: of the draw.
      fits: tells which stories may be drawn.
    """
    stride = max(stories // (_CANDIDATES * max(count, 1)), 1)
    texts = [text for shard in shards for text in read_texts(shard, stride)]
    drawn: dict[str, Cut] = {}
    for i in np.random.default_rng(seed).permutation(len(texts)):
        if len(drawn) == count:
            break
        cut = cut_story(texts[i])
        if cut and fits(texts[i]):
            drawn.setdefault(cut.beginning, cut)
    return list(drawn.values())


def fits(model: Model, story: str) -> bool:
    """Returns whether a model could tell a story: whether all of it fits its context."""
    return len(model.tokenizer.encode(story)) + 2 <= model.config.context_length
