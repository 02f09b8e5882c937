"""`up`: a slice, a job on it, and whatever it takes until the job is done."""

import dataclasses
from collections.abc import Sequence

from launch.cloud import jobs, memory, running, source
from launch.cloud.cloud import Cloud
from launch.cloud.creating import ensure
from launch.cloud.jobs import Report, Verdict
from launch.cloud.memory import Entry
from launch.cloud.slices import Worker
from launch.cloud.states import Machine
from tinyjax.errors import UserError

FAILED, GAVE_UP = 4, 5  # exit codes of launch/tpu
_PATIENCE = 10  # looks at workers that don't answer, or haven't ended where others have
_MOST_POLLS = 20  # between an end and the next start
_LONG = 600  # seconds of work after which retries are counted anew
_LAST_LINES = 30


@dataclasses.dataclass(frozen=True)
class End:
    """How a start came to its end."""

    verdict: Verdict
    report: Report | None  # of the worker that decides it
    why: str


def up(cloud: Cloud, entry: Entry, wait_seconds: float, retries: int, come_back: bool = False) -> int:
    """Makes the slice, starts the job or finds it running, and takes it up again until it is done.

    Args:
      cloud: the slice.
      entry: what is remembered of it, with the job.
      wait_seconds: how long to wait for capacity, each time.
      retries: how often in a row to take the job up again.
      come_back: a job that has ended meanwhile is told of, not started again.

    Returns:
      The exit code of launch/tpu.
    """
    failures, again = 0, False
    while True:
        workers, new = ensure(cloud, wait_seconds)
        began = cloud.runner.now()
        try:
            if new or again or not _is_on(cloud.look(workers), entry, come_back):
                entry = _begin(cloud, workers, entry)
            end = watch(cloud, workers)
        except UserError:  # what fails on a machine that is being taken away is no news
            if not (gone := _gone(cloud)):
                raise
            end = End(Verdict.BROKEN, None, gone)
        if end.verdict in (Verdict.DONE, Verdict.FAILED):
            return _tell_end(cloud, end)
        if was_stopped(entry):
            cloud.runner.say(f"stopped, as asked; 'launch/tpu resume {cloud.settings.name}' goes on")
            return 0
        failures = 1 if cloud.runner.now() - began > _LONG else failures + 1
        if failures > retries:
            cloud.runner.say(f"{end.why}; given up after {retries} retries (--retries)")
            return GAVE_UP
        cloud.runner.say(f"{end.why}; taking it up again, {failures} of {retries} retries")
        cloud.runner.sleep(min(2 ** (failures - 1), _MOST_POLLS))
        again = True


def _is_on(reports: Sequence[Report], entry: Entry, come_back: bool) -> bool:
    """Tells whether the job that was started last is there: then it is only watched."""
    token = entry.job.token if entry.job else ""
    known = bool(token) and all(r.token == token and r.what in ("running", "ended") for r in reports)
    return known and (come_back or any(r.what == "running" for r in reports))


def _begin(cloud: Cloud, workers: Sequence[Worker], entry: Entry) -> Entry:
    """Sets up and starts; what a slice that is made again will need is remembered first."""
    entry = remembered(cloud, dataclasses.replace(entry, code=source.pin(entry.code, cloud.runner)))
    running.set_up(cloud, workers, entry.code)
    assert entry.job is not None
    return remembered(cloud, dataclasses.replace(entry, job=running.start(cloud, workers, entry.job)))


def remembered(cloud: Cloud, entry: Entry) -> Entry:
    """Remembers an entry, unless commands are only printed; returns it."""
    if not cloud.runner.dry:
        memory.save(entry)
    return entry


def was_stopped(entry: Entry) -> bool:
    """Tells whether `stop` was called meanwhile, here or in another terminal."""
    now = memory.load(entry.slice.name)
    return bool(now and now.job and now.job.stopped)


def watch(cloud: Cloud, workers: Sequence[Worker]) -> End:
    """Looks at a job until it has ended on all workers, or a machine is gone.

    A failed call of ours is no news of the job: what counts is Google's word on the machines.
    """
    cloud.runner.note(
        "until all workers have ended; on a preemption: delete, create, set up and start again; on an error "
        "of the program: the last lines of the worker that failed first, and the slice stays"
    )
    line, patience = "", _PATIENCE
    while True:
        reports = cloud.look(workers, "ended")
        verdict, report = jobs.judge(reports)
        if verdict is Verdict.DONE:
            return End(verdict, report, "")
        if verdict is Verdict.RUNNING:
            line = _tell(cloud, line, report)
            patience = _PATIENCE
        elif gone := _gone(cloud):
            return End(Verdict.BROKEN, report, gone)
        elif verdict not in (Verdict.UNSURE, Verdict.UNREACHABLE):
            return End(verdict, report, f"{report.worker}: {report}")
        elif patience == 0:
            return _without_patience(cloud, workers, reports, verdict)
        elif report.code != jobs.DONE:
            patience -= 1
        cloud.runner.sleep()


def _tell(cloud: Cloud, before: str, report: Report) -> str:
    if report.last_line != before:
        cloud.runner.say(f"{report.worker}: {report.last_line}")
    return report.last_line


def _gone(cloud: Cloud) -> str:
    """Returns which machine is gone or going, "" where all are there."""
    for node, state in cloud.nodes().items():
        if state.machine is not Machine.READY:
            return f"'{node.name}' is {state.name}: {state.machine.value}"
    return ""


def _without_patience(
    cloud: Cloud, workers: Sequence[Worker], reports: Sequence[Report], verdict: Verdict
) -> End:
    """Settles what doesn't settle by itself: ends the processes that are left, or says who doesn't answer."""
    answered = [report for report in reports if report.what != "unreachable"]
    settled = jobs.judge(answered) if answered else (verdict, reports[0])
    if settled[0] is Verdict.FAILED:
        return End(*settled, "")
    silent = [report for report in reports if report.what == "unreachable"]
    if silent:
        raise UserError(
            f"{silent[0].worker} doesn't answer, though Google says that it's there:\n"
            f"  {silent[0].last_line}\n"
            f"  the job may go on; 'launch/tpu up {cloud.settings.name}' comes back to it"
        )
    cloud.runner.each(workers, lambda worker: cloud.script(worker, "stop", "KILL"))
    return End(Verdict.BROKEN, settled[1], f"{settled[1].worker}: {settled[1]}, and others hung")


def _tell_end(cloud: Cloud, end: End) -> int:
    """Says how it ended; for a failure with the last lines of the worker that failed first."""
    if end.report is None or end.verdict is Verdict.DONE:
        cloud.runner.say("done on all workers")
        return 0
    name = cloud.settings.name
    try:
        print(cloud.script(end.report.worker, "log", str(_LAST_LINES)), end="")
    except UserError as error:
        cloud.runner.say(f"its log can't be had: {error}")
    cloud.runner.say(
        f"{end.report.worker}: {end.report}; its last lines are above. The slice is kept (and costs): "
        f"mend it, then 'launch/tpu up {name} -- ...' again, or 'launch/tpu delete {name}'"
    )
    return FAILED
