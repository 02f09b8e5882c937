"""A file of stories that were told, one JSON object a line, which an interrupted run goes on with."""

import contextlib
import json
from collections.abc import Callable, Generator
from typing import Any

from etils import epath

from tinyjax.data.publish import write_file
from tinyjax.errors import UserError
from tinyjax.recordio import is_local
from tinyjax.sample.stories import Completion, missing

Key = tuple[str, int]  # a story's prompt, and which of several of it
Write = Callable[[Key, Completion], None]


@contextlib.contextmanager
def open_story_file(
    path: epath.Path, settings: dict[str, Any], words: list[str]
) -> Generator[tuple[set[Key], Write]]:
    """Yields which stories the file has, and what writes another one; each is on disk when that returns.

    Args:
      path: of the file, local; it is made where it isn't there.
      settings: what all its stories are told with; they stand in every line.
      words: that the stories are to use; a line says which are missing.

    Raises:
      UserError: it holds something else, or stories that were told with other settings.
    """
    if not is_local(path):
        raise UserError(
            f"--output is '{path}'; give a local file, to which stories can be added, and copy it"
        )
    there = _read(path, settings) if path.exists() else ""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, there.encode())  # without a line that was cut off
    with path.open("a", encoding="utf-8") as file:

        def write(key: Key, story: Completion) -> None:
            line = _to_json(key, story, words) | settings
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            file.flush()

        yield {_key(json.loads(line)) for line in there.splitlines()}, write


def _read(path: epath.Path, settings: dict[str, Any]) -> str:
    """Returns the whole lines of the file."""
    text = path.read_text()
    text = text[: text.rfind("\n") + 1]
    mend = "give another --output, or move it away"
    for number, line in enumerate(text.splitlines(), 1):
        try:
            values = json.loads(line)
            _key(values)
        except (ValueError, KeyError, TypeError):
            raise UserError(f"line {number} of '{path}' is not a story that was told; {mend}") from None
        for name, value in settings.items():
            if values.get(name) != value:
                before = values.get(name)
                raise UserError(f"'{path}' has stories told with {name} {before!r}, not {value!r}; {mend}")
    return text


def _key(line: dict[str, Any]) -> Key:
    return line["prompt"], line["sample"]


def _to_json(key: Key, story: Completion, words: list[str]) -> dict[str, Any]:
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
