"""A command for Open MPI 4: one process a GPU, or one a host."""

import shlex
from collections.abc import Sequence

from launch.cloud.binaries import ROOT, check_alone, command
from tinyjax.errors import UserError

# When one process ends with a code other than 0, and when mpirun gets SIGTERM, it ends all: after so many
# seconds by SIGTERM, after as many again by SIGKILL. Its own choice is 1, and others may still be saving.
_PATIENCE_SECONDS = 15


def render(words: Sequence[str], *, hosts: str, gpus: int, env: Sequence[str]) -> str:
    """Returns the command, quoted for a shell.

    Args:
      words: the binary and its flags.
      hosts: names with commas between them.
      gpus: how many each host has; JAX gives each process the one of its number there.
      env: names of variables to pass on.

    Raises:
      UserError: this can't be run so.
    """
    names = hosts.split(",")
    if not all(names) or gpus < 0:
        raise UserError(f"--hosts={hosts} --gpus={gpus}: give names with commas between, and how many GPUs")
    each = max(gpus, 1)
    check_alone(words, len(names) * each)
    options = {
        "-np": str(len(names) * each),
        "--host": ",".join(f"{name}:{each}" for name in names),
        "--bind-to": "none",
        "--wdir": str(ROOT),
    }
    patience = ["--mca", "odls_base_sigkill_timeout", str(_PATIENCE_SECONDS)]
    passed = [word for name in env for word in ("-x", name)]
    own = [word for option in options.items() for word in option]
    program = command(words, str(ROOT / ".venv/bin/python"))
    return shlex.join(["mpirun", *own, *patience, *passed, *program]) + "\n"
