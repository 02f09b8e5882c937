"""From the flags of a command, and what is remembered, to what is to be done."""

import argparse
import dataclasses
import re
from collections.abc import Sequence

from launch.cloud import binaries, memory, running
from launch.cloud.memory import Code, Entry, Job
from launch.cloud.slices import Slice, resolve
from tinyjax.errors import UserError


def entry_of(flags: argparse.Namespace, words: tuple[str, ...]) -> Entry:
    """Returns the slice, code and job that a command is about; raises UserError where flags contradict."""
    known = memory.load(flags.name)
    given = {
        field.name: getattr(flags, field.name)
        for field in dataclasses.fields(Slice)
        if hasattr(flags, field.name)
    }
    settings = resolve(dataclasses.replace(known.slice if known else Slice(flags.name, ""), **given))
    if known and settings != known.slice:
        raise UserError(
            f"'{flags.name}' is remembered with other settings: {_differences(known.slice, settings)}; take "
            f"another name, or 'launch/tpu delete {flags.name}' first"
        )
    entry = known or Entry(settings)
    if flags.command == "setup" or (flags.command == "up" and words):
        entry = dataclasses.replace(entry, code=Code(flags.commit or "HEAD", flags.with_changes))
    return dataclasses.replace(entry, job=_job(flags, words, entry.job))


def _differences(before: Slice, now: Slice) -> str:
    old, new = dataclasses.asdict(before), dataclasses.asdict(now)
    return ", ".join(
        f"--{name} was {old[name]} and is now {new[name]}" for name in old if old[name] != new[name]
    )


def _job(flags: argparse.Namespace, words: tuple[str, ...], known: Job | None) -> Job | None:
    if flags.command not in ("run", "up"):
        return known
    if not words:
        if flags.command == "up" and known:
            return dataclasses.replace(known, stopped=False)
        binaries.command(words)  # says what is missing
    binaries.command(words)
    env, secret_names = _environment(flags.env)
    token = known.token if known and known.words == words else ""
    return Job(words, env, secret_names, token)


def _environment(given: Sequence[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    env, secret_names = {}, []
    for text in given:
        name, equals, value = text.partition("=")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise UserError(
                f"--env={name}: no name of a variable; give --env=NAME=VALUE, or --env=NAME for a secret"
            )
        if equals and re.search(r"KEY|TOKEN|SECRET|PASSWORD", name, re.IGNORECASE):
            raise UserError(f"--env={name}=... would be seen and kept; export {name}, then give --env={name}")
        if equals:
            env[name] = value
        else:
            running.read_secret(name)
            secret_names.append(name)
    return env, tuple(secret_names)
