"""launch/tpu: flags to commands, and errors to exit codes."""

import argparse
import os
import sys
from collections.abc import Sequence

from launch.cloud import commands, memory
from launch.cloud.cloud import Cloud
from launch.cloud.creating import NoCapacity
from launch.cloud.entries import entry_of
from launch.cloud.failures import CloudError, Kind
from launch.cloud.flags import parser
from launch.cloud.memory import Entry
from launch.cloud.runner import Runner
from tinyjax.errors import UserError

USER_ERROR, NO_CAPACITY, INTERRUPTED, READER_GONE = 2, 3, 130, 141


def main(argv: Sequence[str]) -> int:
    """Runs a command line; returns the exit code."""
    try:
        code = _main(argv)
        sys.stdout.flush()  # a reader that has gone away is found out here, not while Python ends
        return code
    except NoCapacity as error:
        return _fail(str(error), NO_CAPACITY)
    except CloudError as error:
        return _fail(str(error), NO_CAPACITY if error.kind is Kind.CAPACITY else USER_ERROR)
    except UserError as error:
        return _fail(str(error), USER_ERROR)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left to write goes nowhere
        return READER_GONE
    except KeyboardInterrupt:
        name = next((word for word in argv[1:] if not word.startswith("-")), "NAME")
        told = f"interrupted; what was asked for or started goes on (and costs): 'launch/tpu status {name}'"
        back = f" shows it, 'launch/tpu up {name}' comes back to it" if argv[:1] == ["up"] else " shows it"
        print(f"\n{told}{back}", file=sys.stderr)
        return INTERRUPTED


def _fail(message: str, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code


def _main(argv: Sequence[str]) -> int:
    own, words = _split(argv)
    flags = parser().parse_args(own)
    if words and flags.command not in ("run", "up"):
        raise UserError(f"'{flags.command}' takes no binary after '--'")
    entry = entry_of(flags, words)
    runner = Runner(flags.dry_run, flags.poll_seconds)
    new = memory.load(entry.slice.name) is None
    if not flags.dry_run and _is_news(flags, entry):
        memory.save(entry)
    cloud = Cloud(entry.slice, runner)
    try:
        return _call(flags, cloud, entry, words)
    except (UserError, NoCapacity):
        if new and not cloud.exists:  # nothing came of it, so that it may be asked for with other settings
            memory.forget(entry.slice.name)
        raise


def _is_news(flags: argparse.Namespace, entry: Entry) -> bool:
    """Tells whether to remember it beforehand; a job that `run` starts only when it was started."""
    known = memory.load(entry.slice.name)
    return known is None or (flags.command == "up" and entry != known)


def _split(argv: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """Parts our own words from the binary and its flags after '--'."""
    if "--" not in argv:
        return list(argv), ()
    at = list(argv).index("--")
    return list(argv[:at]), tuple(argv[at + 1 :])


def _call(flags: argparse.Namespace, cloud: Cloud, entry: Entry, words: Sequence[str]) -> int:
    match flags.command:
        case "create":
            return commands.create(cloud, flags.wait)
        case "setup":
            return commands.setup(cloud, entry)
        case "run":
            return commands.run(cloud, entry)
        case "status":
            return commands.status(cloud, entry)
        case "logs":
            return commands.logs(cloud, flags.worker, flags.lines, flags.follow)
        case "resume":
            return commands.resume(cloud, entry, flags.wait)
        case "stop":
            return commands.stop(cloud)
        case "delete":
            return commands.delete(cloud, flags.yes)
        case "up":
            return commands.up(cloud, entry, flags.wait, flags.retries, not words, flags.delete_when_done)
        case _:
            return commands.doctor(cloud, _doctor_flags(flags))


def _doctor_flags(flags: argparse.Namespace) -> list[str]:
    given = {"bucket": flags.bucket, "port": flags.port}
    return [f"--{name}={value}" for name, value in given.items() if value]
