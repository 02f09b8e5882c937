"""What `run -- BINARY FLAGS` names: one of tinyjax's binaries and its flags."""

import pathlib
from collections.abc import Sequence

from tinyjax.errors import UserError, nearest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def binaries() -> frozenset[str]:
    """Returns the names of tinyjax's binaries: train, sample, and so on."""
    files = (ROOT / "tinyjax" / "bin").glob("*.py")
    return frozenset(file.stem for file in files if 'if __name__ == "__main__":' in file.read_text("utf-8"))


def command(words: Sequence[str], python: str = ".venv/bin/python") -> tuple[str, ...]:
    """Returns the command that runs a binary, as `("train", "--run_dir=gs://b/r")` names it.

    Args:
      words: the binary's name and its flags.
      python: the interpreter on the machine where it will run.

    Raises:
      UserError: no binary is named, or one that isn't there.
    """
    if not words:
        raise UserError(
            "what to run is missing; give it after '--', as in: -- train --config=configs/paper.py:33M"
        )
    name, *flags = words
    if name not in binaries():
        raise UserError(
            f"there is no binary '{name}'{nearest(name, binaries())}; "
            f"there are: {', '.join(sorted(binaries()))}"
        )
    return (python, "-m", f"tinyjax.bin.{name}", *flags)


def check_alone(words: Sequence[str], num_processes: int) -> None:
    """Raises UserError where a binary other than train would be started several times as if it were one."""
    if num_processes > 1 and words and words[0] != "train":
        raise UserError(
            f"'{words[0]}' is a single process, and {num_processes} would each do the same; "
            "only train runs on several"
        )
