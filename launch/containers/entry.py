"""What a container does: runs one of tinyjax's binaries in its own place, so that signals reach it."""

import os
import sys
from collections.abc import Sequence

from launch.cloud.binaries import binaries, command
from tinyjax.errors import UserError

_HELP = """\
docker run [options] IMAGE BINARY [flags]

Runs one of tinyjax's binaries: {names}.
Its flags: IMAGE BINARY --help. Mount what it reads and writes, as in -v "$PWD/runs:/runs" and
--run_dir=/runs/a; files made in the container alone are lost with it.
"""


def main(words: Sequence[str]) -> int:
    """Replaces this process by the binary that `words` name; shows the help and returns 0 without any."""
    try:
        if words and words[0] not in ("--help", "-h", "help"):
            program = command(words, sys.executable)
            os.execv(program[0], program)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(_HELP.format(names=", ".join(sorted(binaries()))), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
