"""The flags of launch/tpu and their help."""

import argparse
import re
from typing import Any, NoReturn

from tinyjax.errors import UserError

_ABOUT = """\
Trains on TPU slices: creates them (queued resources), sets them up, runs tinyjax's binaries on all workers,
and goes on after preemptions. What is after '--' is a binary and its flags, as in

  launch/tpu up stories --zone=us-central1-a --type=v5litepod-4 --spot -- \\
      train --config=configs/paper.py:33M --config.data.path=gs://BUCKET/data --run_dir=gs://BUCKET/runs/33M

Later commands need the name only: launch/tpu status stories. --dry_run prints what would be called.

Nothing is deleted unless asked. One exception is in the nature of the thing: to make a slice again that was
preempted, suspended or has failed, 'up', 'resume' and 'create' delete what is left of its queued resource, if
launch/tpu made it (label made-by=tinyjax). Buckets are never touched.

Exit codes: 0 done; 1 a bug; 2 something for you to mend; 3 no capacity within --wait; 4 the program failed on
a worker; 5 retries used up; 130 Ctrl-C (what was started goes on)."""

_COMMANDS = {
    "create": "ask for a slice and wait for it",
    "setup": "bring code, Python and packages to all workers",
    "run": "start a binary on all workers; it goes on without us",
    "status": "show the queued resource, its nodes and what each worker does",
    "logs": "show a worker's log",
    "resume": "start the last command again; a slice that is gone is made again first",
    "stop": "end the job with everything saved (SIGTERM), and wait for that",
    "delete": "delete the slice, after a question",
    "up": "create, setup, run and watch; after a preemption make it again and go on. Without '--': come back",
    "doctor": "check versions, chips, bucket and port on all workers",
}
_EXISTING = "--existing takes VMs that are there: the TPU VM NAME, or with --vms=a,b VMs of Compute Engine"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def _seconds(text: str) -> float:
    """Reads 90s, 30m, 24h or 0."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if not found or (not found[2] and float(found[1])):
        raise argparse.ArgumentTypeError(f"'{text}' is no time; give it as 90s, 30m or 24h, or 0")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600, "": 0}[found[2]]


def parser() -> argparse.ArgumentParser:
    """Returns the parser of all commands."""
    whole = _Parser(
        "launch/tpu",
        description=_ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    of = whole.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    for name, help_text in _COMMANDS.items():
        one = of.add_parser(
            name, help=help_text, description=f"{help_text}. {_EXISTING}.", allow_abbrev=False
        )
        one.add_argument("name", metavar="NAME", help="the slice's name")
        _add_slice(one)
        _add_own(name, one)
        one.add_argument(
            "--dry_run", action="store_true", help="print every command, in order, and call none"
        )
        one.add_argument("--poll_seconds", type=float, default=30, help="time between looks; default 30")
    return whole


def _add_slice(parser: argparse.ArgumentParser) -> None:
    def add(name: str, help_text: str, **options: Any) -> None:
        group.add_argument(f"--{name}", default=argparse.SUPPRESS, help=help_text, **options)

    group = parser.add_argument_group("the slice (remembered)")
    add("zone", "as in us-central1-a")
    add("project", "gcloud's own project if not given")
    add("type", "v4-8, v5litepod-4, v5p-8, v6e-8, ..., or a topology of 'plan' as in v5e:2x2")
    add("slices", "several slices that train together", type=int)
    add("runtime", "software version; that of the type if not given")
    add("spot", "cheaper, may be preempted", action="store_true")
    add("reserved", "on reserved capacity", action="store_true")
    add("service_account", "whose rights the VMs have: it needs the bucket")
    add("network", "network")
    add("subnetwork", "subnetwork")
    add(
        "internal_ips",
        "no external addresses; call from inside the network, with Cloud NAT",
        action="store_true",
    )
    add("existing", "take VMs that are there; nothing is created or deleted", action="store_true")
    add("vms", "with --existing: VMs of Compute Engine, by commas", type=lambda text: tuple(text.split(",")))


def _add_own(command: str, parser: argparse.ArgumentParser) -> None:
    if command in ("create", "up", "resume"):
        parser.add_argument(
            "--wait",
            type=_seconds,
            default="24h",
            help="how long to wait for capacity; then the request ends. Default 24h; create --wait=0 only "
            "asks",
        )
    if command in ("setup", "up"):
        parser.add_argument("--commit", default="", help="which code; default HEAD")
        parser.add_argument("--with_changes", action="store_true", help="with local changes and new files")
    if command in ("run", "up"):
        parser.add_argument(
            "--env",
            action="append",
            default=[],
            metavar="NAME[=VALUE]",
            help="a variable for the job; --env=NAME takes it from your environment, and keeps it secret",
        )
    if command == "up":
        parser.add_argument("--retries", type=int, default=10, help="times to go on in a row; default 10")
        parser.add_argument(
            "--delete_when_done", action="store_true", help="delete the slice after exit code 0"
        )
    if command == "logs":
        parser.add_argument("-f", "--follow", action="store_true", help="go on until the job ends")
        parser.add_argument("--worker", type=int, default=0, help="which one, over all nodes; default 0")
        parser.add_argument("--lines", type=int, default=50, help="how many of the last lines; default 50")
    if command == "delete":
        parser.add_argument("--yes", action="store_true", help="don't ask")
    if command == "doctor":
        parser.add_argument("--bucket", default="", help="gs://... that must be readable and writable")
        parser.add_argument("--port", type=int, default=0, help="coordinator's port to try")
