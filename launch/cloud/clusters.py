"""The command line of launch/cluster: what to run, and where, to what starts it there."""

import argparse
import pathlib
import re
import sys
from collections.abc import Sequence

from launch.cloud import mpirun, slurm, xpk
from tinyjax.errors import UserError

_EXAMPLES = """\
examples:
  launch/cluster slurm --nodes=4 --gpus=8 --partition=P --out=job.sh -- train --config=...
  launch/cluster mpirun --hosts=a,b --gpus=8 -- train --config=...
  launch/cluster xpk --cluster=C --workload=W --tpu_type=v5litepod-16 --image=IMAGE -- train ...

Paths in the flags are relative to the repository, or in a container to /app. The run folder must be one that
all machines see. A run that is started again goes on where it stopped.
"""


def main(arguments: Sequence[str]) -> int:
    """Prints or writes what the arguments ask for; returns the exit code."""
    own, words = _split(arguments)
    values = vars(_parser().parse_args(own))
    render, out = values.pop("render"), values.pop("out")
    try:
        _check_names(values["env"])
        text = render(words, **values)
        _give(text, out)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _give(text: str, out: pathlib.Path | None) -> None:
    """Prints the text, or writes it to a file that holds nothing else."""
    if out is None:
        print(text, end="")
        return
    try:
        if out.exists() and out.read_bytes() != text.encode():
            raise UserError(f"--out={out} is there, with other contents; move it away, or give another file")
        out.write_text(text, encoding="utf-8")
        out.chmod(0o755)
    except OSError as error:
        raise UserError(f"--out={out} can't be written ({error.strerror}); give another file") from None


def _split(arguments: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Parts our own flags from what stands behind `--`."""
    if "--" not in arguments:
        return arguments, ()
    at = list(arguments).index("--")
    return arguments[:at], arguments[at + 1 :]


def _check_names(names: Sequence[str]) -> None:
    """Raises UserError where a value stands in the place of a name: it would lie open in files."""
    for name in names:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise UserError(
                f"--env={name.partition('=')[0]}... is not the name of a variable; export it with its value "
                "where the run is started, and give its name alone"
            )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="launch/cluster",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    kinds = parser.add_subparsers(required=True, metavar="KIND")
    for module, add in ((slurm, _add_slurm), (mpirun, _add_mpirun), (xpk, _add_xpk)):
        name = module.__name__.rpartition(".")[2]
        kind = kinds.add_parser(name, help=module.__doc__, description=module.__doc__, allow_abbrev=False)
        kind.set_defaults(render=module.render)
        kind.add_argument("--env", action="append", default=[], metavar="NAME", help="a variable to pass on")
        kind.add_argument("--out", type=pathlib.Path, metavar="FILE", help="where to; default: print it")
        add(kind)
    return parser


def _add_slurm(kind: argparse.ArgumentParser) -> None:
    kind.add_argument("--name", default="tinyjax", help="of the job; default tinyjax")
    kind.add_argument("--nodes", type=int, default=1, help="default 1")
    kind.add_argument("--gpus", type=int, default=0, help="of each node; default 0: on the CPU")
    kind.add_argument("--cpus", type=int, default=4, help="for each process; default 4")
    kind.add_argument("--time", default="24:00:00", help="limit of one start; default 24:00:00")
    kind.add_argument("--partition", default="", help="default: the cluster's")
    kind.add_argument("--image", default="", help="for Apptainer, such as tinyjax.sif; default: .venv")
    kind.add_argument(
        "--sbatch",
        action="append",
        default=[],
        metavar="OPTION",
        help="more for sbatch, as in --sbatch=--account=A; may be repeated",
    )


def _add_mpirun(kind: argparse.ArgumentParser) -> None:
    kind.add_argument("--hosts", required=True, help="HOST,HOST,...; mpirun is started on the first")
    kind.add_argument("--gpus", type=int, default=0, help="of each host; default 0: one process on the CPU")


def _add_xpk(kind: argparse.ArgumentParser) -> None:
    kind.add_argument("--cluster", required=True)
    kind.add_argument("--workload", required=True, help="a new name")
    kind.add_argument("--tpu_type", required=True, help="as XPK calls it: v5litepod-16, v6e-16, ...")
    kind.add_argument("--num_slices", type=int, default=1, help="default 1")
    kind.add_argument("--image", default="", help="made with --target tpu, in a registry")
    kind.add_argument("--base_image", default="", help="in its place: the same, with the code that lies here")
    kind.add_argument("--max_restarts", type=int, default=10, help="default 10")
    kind.add_argument("--project", default="", help="default: gcloud's")
    kind.add_argument("--zone", default="", help="default: gcloud's")
