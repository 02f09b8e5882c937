"""Telling stories in a conversation: a beginning is typed, and the story comes word by word."""

import contextlib
import dataclasses
import sys
from collections.abc import Generator

from etils import epath

from tinyjax.errors import UserError
from tinyjax.sample.engine import Engine
from tinyjax.sample.model import Model
from tinyjax.sample.options import Options, check
from tinyjax.sample.stories import make_requests, tell_one

HELP = """Type the beginning of a story, and Enter; a line that ends in \\ goes on, an empty one begins anew.
  /again            tell it again, otherwise
  /continue         go on where the story stopped
  /seed N           the number that all chance comes from
  /temperature X    below 1 plainer, above 1 wilder
  /help  /quit"""
HISTORY = epath.Path("~/.cache/tinyjax/prompts").expanduser()
_STEPS = 4  # tokens between two pieces of text on the screen


@dataclasses.dataclass
class _Talk:
    """Where a conversation is."""

    options: Options
    seed: int
    prompt: str = ""
    story: str = ""  # the newest one, prompt included
    sample: int = 0


def converse(model: Model, engine: Engine, instructions: str, options: Options, seed: int) -> None:
    """Reads beginnings and commands until the end of input, and prints the stories."""
    talk = _Talk(options, seed)
    with _history():
        print(HELP)
        while (line := _read_line()) is not None and line.strip() != "/quit":
            try:
                if _obey(talk, line):
                    talk.story = _tell(model, engine, instructions, talk)
            except UserError as error:
                print(f"error: {error}", file=sys.stderr)
            except KeyboardInterrupt:
                for slot in engine.in_use:
                    engine.drop(slot)
                print()


def _read_line() -> str | None:
    """Returns what is typed, lines that end in a backslash together; None at the end of input."""
    lines = []
    while True:
        try:
            lines.append(input("> " if not lines else ". "))
        except EOFError:
            return None
        except KeyboardInterrupt:
            print()
            lines.clear()
            continue
        if not lines[-1].endswith("\\"):
            return "\n".join(line.removesuffix("\\") for line in lines)


def _obey(talk: _Talk, line: str) -> bool:
    """Does what a line says; returns whether a story is to be told."""
    command, _, value = line.strip().partition(" ")
    if not command.startswith("/"):
        talk.prompt, talk.sample = line, 0
    elif command == "/again":
        talk.sample += 1
    elif command == "/continue":
        talk.prompt, talk.sample = talk.story, 0
    elif command == "/seed":
        talk.seed, talk.sample = int(_number(value, "/seed 7")), 0
        return False
    elif command == "/temperature":
        temperature = _number(value, "/temperature 0.8")
        talk.options = check(dataclasses.replace(talk.options, temperature=temperature))
        return False
    else:
        print(HELP)
        return False
    return True


def _number(text: str, example: str) -> float:
    with contextlib.suppress(ValueError):
        if (value := float(text)) >= 0:
            return value
    raise UserError(f"'{text}' is not a number from 0; as in: {example}")


def _tell(model: Model, engine: Engine, instructions: str, talk: _Talk) -> str:
    """Prints a story as it comes; returns it."""
    requests = make_requests(
        model, instructions + talk.prompt, talk.sample + 1, seed=talk.seed, options=talk.options
    )
    story = talk.prompt
    print(story, end="", flush=True)
    finish = ""
    for piece in tell_one(engine, model.tokenizer, requests[-1], _STEPS):
        print(piece.text, end="", flush=True)
        story += piece.text
        finish = piece.finish
    print("" if finish != "length" else " [...]")
    return story


@contextlib.contextmanager
def _history() -> Generator[None]:
    """Lets lines be edited, and earlier ones be found again, where the system can."""
    try:
        import readline
    except ImportError:
        yield
        return
    HISTORY.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError):
        readline.read_history_file(HISTORY)
    try:
        yield
    finally:
        readline.set_history_length(1000)
        with contextlib.suppress(OSError):
            readline.write_history_file(HISTORY)
