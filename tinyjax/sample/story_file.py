"""A file of stories that were told, one JSON object a line, which an interrupted run goes on with."""

import contextlib
import dataclasses
import json
from collections.abc import Generator, Sequence
from typing import Any

from etils import epath

from tinyjax.records import Record, Records, open_records
from tinyjax.sample.options import Options
from tinyjax.sample.stories import Completion, missing

Key = tuple[str, int]  # a story's prompt, and which of several of it


@contextlib.contextmanager
def open_story_file(
    path: epath.PathLike,
    checkpoint: str,
    step: int,
    seed: int,
    options: Options,
    **others: str | int | None,
) -> Generator[Records]:
    """Opens a file of stories, by prompt and sample; see `open_records`.

    Args:
      path: of the file, local or on gs://; it is made where it isn't there.
      checkpoint: that tells the stories, as the user names it.
      step: of the checkpoint.
      seed: of all draws.
      options: how tokens are chosen.
      others: what else the same seed gives other stories with, such as a draft; None: it is not there.
    """
    settings: dict[str, Any] = others | {
        "checkpoint": checkpoint,
        "step": step,
        "seed": seed,
        "options": json.loads(json.dumps(dataclasses.asdict(options))),
    }
    with open_records(path, "a story that was told", ("prompt", "sample"), settings) as records:
        yield records


def to_record(key: Key, story: Completion, words: Sequence[str] = ()) -> Record:
    """Returns a story as the file has it; where it was to use words, with those that are missing."""
    prompt, sample = key
    lacking = missing(words, prompt + story.text)
    return {
        "prompt": prompt,
        "story": prompt + story.text,
        "sample": sample,
        "finish": story.finish,
        "tokens": len(story.tokens),
        "logprob": round(story.logprob, 4),
        **({"missing_words": lacking} if words else {}),
    }
