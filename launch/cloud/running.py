"""Setting workers up, starting and stopping a job on all of them."""

import contextlib
import dataclasses
import os
import pathlib
import secrets
import shlex
import tempfile
from collections.abc import Generator, Sequence

from launch.cloud import binaries, jobs, memory, source
from launch.cloud.binaries import ROOT
from launch.cloud.cloud import SCRIPT, Cloud
from launch.cloud.memory import Code, Job
from launch.cloud.slices import Worker
from tinyjax.errors import UserError

_SETUP_SECONDS = 2400


def set_up(cloud: Cloud, workers: Sequence[Worker], code: Code) -> None:
    """Brings code, Python and packages to all workers."""
    script = f"launch/cloud/{SCRIPT}"
    with source.packed(code, cloud.runner) as (archive, label):
        files = (archive, script if cloud.runner.dry else str(ROOT / script))
        cloud.runner.say(f"setting up {len(workers)} workers with {label} (a minute or two the first time)")
        cloud.knock(workers[0])
        cloud.runner.each(workers, lambda worker: cloud.copy(worker, files))
        cloud.runner.each(
            workers, lambda worker: cloud.script(worker, "setup", label, timeout=_SETUP_SECONDS)
        )


def start(cloud: Cloud, workers: Sequence[Worker], job: Job) -> Job:
    """Starts a job on all workers; returns it with the token of this start.

    Raises:
      UserError: one is running already, or a worker isn't set up; then nothing was started.
    """
    command = binaries.command(job.words)
    refuse_if_busy(cloud.look(workers))
    job = dataclasses.replace(job, token=_token(cloud), stopped=False)
    if job.env or job.secrets:
        with _environment_file(cloud, job) as path:
            cloud.runner.each(workers, lambda worker: cloud.copy(worker, [path]))
    cloud.runner.each(workers, lambda worker: cloud.script(worker, "start", job.token, *command))
    cloud.runner.say(f"started on {len(workers)} workers: {shlex.join(job.words)}")
    return job


def refuse_if_busy(reports: Sequence[jobs.Report]) -> None:
    """Raises UserError where a worker can't start anything."""
    for report in reports:
        if report.what == "running":
            raise UserError(
                f"a job is {report} on {report.worker}; see it with 'launch/tpu logs', end it with "
                "'launch/tpu stop'"
            )
        if report.what in ("bare", "unreachable"):
            raise UserError(f"{report.worker}: {report} {report.last_line}".rstrip())


def _token(cloud: Cloud) -> str:
    return "dry-run" if cloud.runner.dry else secrets.token_hex(6)


@contextlib.contextmanager
def _environment_file(cloud: Cloud, job: Job) -> Generator[str]:
    """Yields a file for its owner's eyes, to be copied: in a command, values would be seen and logged."""
    name = f"tinyjax-env-{job.token}"
    if cloud.runner.dry:
        lines = [f"{name}={value}" for name, value in job.env.items()]
        lines += [f"{name} (from your environment)" for name in job.secrets]
        cloud.runner.note(f"{name} holds {', '.join(lines)}")
        yield name
        return
    values = job.env | {name: read_secret(name) for name in job.secrets}
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / name
        path.touch(mode=0o600)
        path.write_text(
            "".join(f"export {k}={shlex.quote(v)}\n" for k, v in values.items()), encoding="utf-8"
        )
        yield str(path)


def read_secret(name: str) -> str:
    """Returns a variable of the caller's environment."""
    if name not in os.environ:
        raise UserError(
            f"--env={name}: {name} isn't set here; export it first (its value is neither kept nor shown)"
        )
    return os.environ[name]


def stop(cloud: Cloud, workers: Sequence[Worker], wait_polls: int) -> list[jobs.Report]:
    """Tells all workers to stop, and waits until they have saved and ended."""
    cloud.runner.each(workers, lambda worker: cloud.script(worker, "stop", "TERM"))
    for _ in range(wait_polls):
        reports = cloud.look(workers)
        if not any(report.what in ("running", "unreachable") for report in reports):
            return reports
        cloud.runner.sleep()
    raise UserError(
        "some workers run on after SIGTERM; see 'launch/tpu status', and call 'launch/tpu stop' again"
    )


def remember_stop(name: str) -> None:
    """Keeps an `up` that is watching elsewhere from starting the job again."""
    entry = memory.load(name)
    if entry and entry.job:
        memory.save(dataclasses.replace(entry, job=dataclasses.replace(entry.job, stopped=True)))
