"""What each command of launch/tpu does, once its flags are read."""

import dataclasses
import shlex
import sys
from collections.abc import Sequence

from launch.cloud import jobs, memory, running, source, watching
from launch.cloud.cloud import Cloud, workers_of
from launch.cloud.creating import ensure
from launch.cloud.memory import Entry
from launch.cloud.slices import Worker
from launch.cloud.states import Machine
from tinyjax.errors import UserError

_STOP_SECONDS = 900


def create(cloud: Cloud, wait_seconds: float) -> int:
    """Asks for the slice and waits for it; with no time to wait, only asks."""
    if wait_seconds or cloud.settings.existing:
        ensure(cloud, wait_seconds)
        cloud.runner.say(f"'{cloud.settings.name}' is ready; next: launch/tpu setup {cloud.settings.name}")
    else:
        cloud.create(0)
    return 0


def setup(cloud: Cloud, entry: Entry) -> int:
    """Brings the code and its environment to all workers."""
    workers = cloud.workers()
    entry = dataclasses.replace(entry, code=source.pin(entry.code, cloud.runner))
    running.set_up(cloud, workers, entry.code)
    watching.remembered(cloud, entry)
    cloud.runner.say(
        f"{len(workers)} workers are set up; next: launch/tpu run {cloud.settings.name} -- train ..."
    )
    return 0


def run(cloud: Cloud, entry: Entry) -> int:
    """Starts the job on all workers."""
    _start(cloud, cloud.workers(), entry)
    name = cloud.settings.name
    cloud.runner.say(f"it goes on by itself; 'launch/tpu status {name}', 'launch/tpu logs {name} -f'")
    return 0


def resume(cloud: Cloud, entry: Entry, wait_seconds: float) -> int:
    """Starts the last job again, on a slice that is made again where it is gone."""
    if entry.job is None:
        raise UserError(f"nothing was started on '{cloud.settings.name}' from here; use 'launch/tpu run'")
    workers, _ = ensure(cloud, wait_seconds)
    reports = cloud.look(workers, "bare")
    if all(report.what == "running" for report in reports):
        cloud.runner.say("it is running already")
        return 0
    if any(report.what == "bare" for report in reports):
        entry = dataclasses.replace(entry, code=source.pin(entry.code, cloud.runner))
        running.set_up(cloud, workers, entry.code)
    _start(cloud, workers, entry)
    return 0


def _start(cloud: Cloud, workers: Sequence[Worker], entry: Entry) -> None:
    assert entry.job is not None
    job = running.start(cloud, workers, entry.job)
    watching.remembered(cloud, dataclasses.replace(entry, job=job))


def up(
    cloud: Cloud, entry: Entry, wait_seconds: float, retries: int, come_back: bool, delete_after: bool
) -> int:
    """Does all of it, watches, and where that was asked for deletes the slice after a job that is done."""
    code = watching.up(cloud, entry, wait_seconds, retries, come_back)
    if code == 0 and delete_after and not watching.was_stopped(entry):
        return delete(cloud, yes=True)
    return code


def status(cloud: Cloud, entry: Entry) -> int:
    """Shows the queued resource, its nodes and what each worker does."""
    if not cloud.settings.existing:
        request = cloud.request("ACTIVE")
        _show(cloud, f"queued resource '{cloud.settings.name}': {request}")
    nodes = cloud.nodes()
    for node, state in nodes.items():
        health = f", {state.health}" if state.health else ""
        _show(cloud, f"node '{node.name}': {state.name}{health}")
    if entry.job:
        _show(cloud, f"started last: {shlex.join(entry.job.words)}")
    if all(state.machine is Machine.READY for state in nodes.values()):
        for report in cloud.look(workers_of(nodes)):
            tail = f"\n    {report.last_line}" if report.last_line else ""
            _show(cloud, f"{report.worker}: {report}{tail}")
    return 0


def _show(cloud: Cloud, text: str) -> None:
    if not cloud.runner.dry:
        print(text)


def logs(cloud: Cloud, number: int, lines: int, follow: bool) -> int:
    """Shows a worker's log, and with `follow` what is added to it until the job ends."""
    workers = cloud.workers()
    if not 0 <= number < len(workers):
        raise UserError(f"--worker={number}: there are workers 0 to {len(workers) - 1}")
    words = ("follow" if follow else "log", str(lines))
    code = cloud.runner.stream(cloud.ssh(workers[number], *words))
    if code:
        raise UserError(
            f"the log of {workers[number]} ended with code {code}, see above; if the connection was lost, "
            "call again: the job doesn't mind"
        )
    return 0


def stop(cloud: Cloud) -> int:
    """Ends the job on all workers, with everything saved."""
    if not cloud.runner.dry:
        running.remember_stop(cloud.settings.name)
    polls = max(1, round(_STOP_SECONDS / max(cloud.runner.poll_seconds, 1)))
    reports = running.stop(cloud, cloud.workers(), polls)
    for report in reports:
        cloud.runner.say(f"{report.worker}: {report}")
    bad = [r for r in reports if r.what == "ended" and r.code not in (jobs.DONE, jobs.SAVED, jobs.TERMINATED)]
    return watching.FAILED if bad else 0


def delete(cloud: Cloud, yes: bool) -> int:
    """Deletes the queued resource with its nodes, after a question; never a bucket."""
    name = cloud.settings.name
    if cloud.settings.existing:
        cloud.runner.note(f"nothing: '{name}' was there before launch/tpu")
        _forget(cloud)
        cloud.runner.say(f"'{name}' was there before launch/tpu: it stays, and is only forgotten here")
        return 0
    request = cloud.request("ACTIVE")
    if not (request.ours or cloud.runner.dry or request.name == ""):
        raise UserError(f"'{name}' wasn't made by launch/tpu; delete it by gcloud, if it is yours to delete")
    nodes = ", ".join(node.name for node in cloud.settings.nodes())
    cloud.runner.say(
        f"'{name}' ({request}) with {nodes}: their disks go with them. Buckets stay as they are."
    )
    if not (yes or cloud.runner.dry or _agreed()):
        cloud.runner.say("nothing was deleted")
        return 0
    if request.name or cloud.runner.dry:
        cloud.delete()
    _forget(cloud)
    return 0


def _forget(cloud: Cloud) -> None:
    if not cloud.runner.dry:
        memory.forget(cloud.settings.name)


def _agreed() -> bool:
    if not sys.stdin.isatty():
        raise UserError("nobody is here to ask; give --yes to delete")
    return input("Delete it? [y/N] ").strip().lower() in ("y", "yes")


def doctor(cloud: Cloud, flags: list[str]) -> int:
    """Runs the check-up on all workers and shows what each says."""
    workers = cloud.workers()
    results = cloud.runner.each(
        workers, lambda worker: cloud.runner.call(cloud.ssh(worker, "doctor", *flags), timeout=300)
    )
    for worker, result in zip(workers, results, strict=True):
        lines = (result.out or result.err).splitlines()
        _show(cloud, "\n".join([f"--- {worker}", *lines]))
    return watching.FAILED if any(result.code for result in results) else 0
