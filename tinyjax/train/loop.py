"""The training loop: restore or start, step, log, evaluate, checkpoint, until done or told to stop."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, TypeVar

import jax
from etils import epath

from tinyjax.checkpoint import manager as checkpoints
from tinyjax.checkpoint.manager import Meta
from tinyjax.checkpoint.partial import parameters_from
from tinyjax.checkpoint.preflight import FOR_CHECKPOINTS, probe
from tinyjax.config import Config, to_json
from tinyjax.data.loader import train_batches
from tinyjax.data.publish import write_file
from tinyjax.data.windows import Window
from tinyjax.errors import Stopped
from tinyjax.evaluate.loss import Evaluation
from tinyjax.parallel.distributed import Agreement
from tinyjax.parallel.sharding import local_rows, put_batch
from tinyjax.train.describe import describe, describe_sources
from tinyjax.train.log import Clock, Log
from tinyjax.train.optimizer import UNDECIDED
from tinyjax.train.plan import training_draws
from tinyjax.train.profile import Profiler
from tinyjax.train.report import Report, open_report
from tinyjax.train.run import Progress, Run, check_free, check_same_run, prepare_run
from tinyjax.train.samples import Continue, make_tell
from tinyjax.train.step import TrainState, abstract_state, compile_init, compile_step
from tinyjax.train.validation import make_evaluate

CHECKPOINTS = "checkpoints"

T = TypeVar("T")


class Stop:
    """Whether to stop: a signal that came to this process or, by agreement, to another one of the run."""

    def __init__(self) -> None:
        """Knows of no signal yet."""
        self.caught = 0  # the signal that came to this process
        self.signum = 0  # the signal for which all processes stop here and now
        self._agreement: Agreement | None = None

    def ask(self, overdue: bool = False, decided: int = UNDECIDED) -> tuple[bool, int]:
        """Updates `signum`; returns whether a checkpoint is overdue for any, and the first's number of steps.

        All processes ask at the same steps: their clocks differ, and are asked about here.
        """
        self._agreement = self._agreement or Agreement()
        first = decided if jax.process_index() == 0 and decided != UNDECIDED else 0
        self.signum, any_overdue, num_steps = self._agreement(self.caught, int(overdue), first)
        return bool(any_overdue), num_steps or decided

    def watch(self, parts: Iterator[T]) -> Iterator[T]:
        """Hands on the batches, or the prompts, of an evaluation; raises Stopped between them."""
        for part in parts:
            self.ask()
            if self.signum:
                raise Stopped(self.signum, "in an evaluation; there is a checkpoint of the steps before it")
            yield part


def train(config: Config, run_dir: epath.PathLike, go_on: Continue | None = None) -> Evaluation:
    """Trains, or takes up, the run in `run_dir`; returns the loss over the validation split at the end.

    Args:
      config: of the run.
      run_dir: its folder, local or on gs://.
      go_on: what tells the stories of `config.train.sample_prompts`; without it none is told.

    Raises:
      UserError: config, data and what is in `run_dir` don't fit together.
      Stopped: SIGINT or SIGTERM came; what could be saved is, and the same call goes on from there.
    """
    began = time.monotonic()
    with watch_signals() as stop:
        probe(run_dir, FOR_CHECKPOINTS)
        run = prepare_run(config, run_dir)
        progress = resume(run) or start(run)
        with open_report(run, progress.step, began) as report:
            return _train(run, progress, report, go_on, stop)


def _train(run: Run, progress: Progress, report: Report, go_on: Continue | None, stop: Stop) -> Evaluation:
    report.say(describe(run, progress))
    score, tell = make_evaluate(run, report, stop.watch), make_tell(run, report, go_on, stop.watch)

    def evaluate(progress: Progress) -> Evaluation:
        result = score(progress)
        tell(progress)
        return result

    if progress.step < progress.num_steps:
        run_steps(run, progress, report, evaluate, stop)
        report.say(report.goodput.describe())
    if len(run.plan.mixture.sources) > 1:
        report.say(f"read: {describe_sources(run.plan, progress.step)}")
    return evaluate(progress)


def start(run: Run) -> Progress:
    """Starts a run at step 0 and writes its config into the run folder."""
    run.folder.mkdir(parents=True, exist_ok=True)
    check_free(run)
    if jax.process_index() == 0:
        write_file(run.folder / "config.json", to_json(run.config).encode())
    state = compile_init(run.config, run.mesh)()
    if source := run.config.train.init_from:
        allowed = run.config.train.allow_missing
        params = parameters_from(source, state.params, run.plan.mixture.tokenizer, allowed)
        state = state._replace(params=params)
    return Progress(state, 0, run.plan.num_steps, 0.0)


def resume(run: Run) -> Progress | None:
    """Reads the newest checkpoint of the run folder, None when there is none."""
    found = checkpoints.newest(run.folder / CHECKPOINTS)
    if found is None:
        return None
    folder = run.folder / CHECKPOINTS / str(found)
    meta = checkpoints.read_meta(folder)
    check_same_run(run, meta)
    target = abstract_state(run.config, run.mesh)
    stored = checkpoints.read_state(folder, **target.items())
    step = jax.device_put(jax.numpy.int32(meta.step), target.step.sharding)
    state = TrainState(step, **stored)
    return Progress(state, meta.step, meta.num_steps, meta.seconds)


def run_steps(
    run: Run, progress: Progress, report: Report, evaluate: Callable[[Progress], Evaluation], stop: Stop
) -> None:
    """Trains from `progress` to the end, updating it; raises Stopped after a signal."""
    config, clock = run.config, Clock(progress.seconds)
    step_fn, log = compile_step(config, run.mesh), Log(run, report, clock)
    steady: tuple[int, float] | None = None  # step and seconds when the first, which compiles, was made
    with (
        checkpoints.open_for_writing(run.folder / CHECKPOINTS, config.train.checkpoint_every) as writer,
        open_batches(run, progress.step) as batches,
        contextlib.closing(Profiler(config.train, report, clock)) as profiler,
    ):
        saver = Saver(run, report, writer, clock)
        stop.ask()
        while progress.step < progress.num_steps and not stop.signum:
            if progress.step and progress.step % config.train.eval_every == 0:
                jax.block_until_ready(progress.state.step)  # so that this step is on the clock
                with clock.paused(), contextlib.suppress(Stopped):
                    evaluate(progress)
                if stop.signum:
                    break
            with profiler.step(progress.step + 1):
                waited = time.monotonic()
                batch = put_batch(run.mesh, next(batches))
                waited = time.monotonic() - waited
                progress.state, metrics = step_fn(progress.state, batch, progress.num_steps)
            progress.step += 1
            profiler.follow(progress.step, metrics)
            log.add(progress, metrics, waited)
            saver.follow(progress.step)
            progress.seconds = clock.seconds
            steady = steady or (progress.step, progress.seconds)
            decided = decide_end(config, progress, *steady)
            overdue, progress.num_steps = stop.ask(saver.overdue, decided)
            if overdue or progress.step % config.train.checkpoint_every == 0:
                saver.save(progress)
        log.close(progress)
        saver.finish(progress)
        if stop.signum and progress.step < progress.num_steps:
            raise Stopped(stop.signum, f"after step {progress.step}; {saver.outcome(progress.step)}")


def open_batches(run: Run, step: int) -> contextlib.AbstractContextManager[Iterator[Window]]:
    """Opens the batches that come after `step`; of each, this process's rows."""
    data = run.config.data
    return train_batches(
        training_draws(run.plan, run.config.train.seed),
        data.batch_size,
        start_step=step,
        rows=local_rows(run.mesh, data.batch_size),
        workers=data.grain_workers,
        prefetch=data.prefetch,
    )


class Saver:
    """Has checkpoints written, and tells what became of them."""

    def __init__(self, run: Run, report: Report, writer: Any, clock: Clock):
        """Counts the minutes to the next one from now; what steps wait for it is lost on the clock."""
        self._run = run
        self._report = report
        self._writer = writer
        self._clock = clock
        self._saved_at = clock.seconds

    @property
    def overdue(self) -> bool:
        """Whether it was long ago that the last one was begun."""
        return self._clock.seconds - self._saved_at > 60 * self._run.config.train.checkpoint_minutes

    def save(self, progress: Progress) -> None:
        """Begins one of the present state, where it is worth one."""
        jax.block_until_ready(progress.state.step)  # so that this step is no part of what is lost
        with self._clock.held_up():
            save(self._run, progress, self._writer)
        self._saved_at = self._clock.seconds

    def follow(self, step: int) -> None:
        """Looks after those begun before `step`: raises what failed; with what is done goes the report."""
        checkpoints.check(self._writer)
        if step - 1 in self._writer.all_steps():
            self._report.publish()

    def finish(self, progress: Progress) -> None:
        """Writes the last one, and waits for it."""
        self.save(progress)
        checkpoints.finish(self._writer)
        self._report.publish()

    def outcome(self, step: int) -> str:
        """Says whether there is one of this step, the last."""
        if step in self._writer.all_steps():
            return "a checkpoint was written"
        newest = self._writer.latest_step()
        there = "there is none before it" if newest is None else f"the newest one is of step {newest}"
        return f"it was skipped, so no checkpoint of it was written; {there}"


def save(run: Run, progress: Progress, writer: Any) -> None:
    """Starts writing a checkpoint of the present state, unless this step has one, or its update was skipped.

    What made the guard skip it may be in the parameters; an earlier checkpoint must not go for that.
    """
    guard = progress.state.guard
    if progress.step in writer.all_steps() or (guard is not None and int(guard.skipped)):
        return
    mixture = run.plan.mixture
    meta = Meta(
        step=progress.step,
        config=run.config,
        tokenizer=mixture.tokenizer,
        dataset=mixture.fingerprint,
        instruct=mixture.instruct,
        num_steps=progress.num_steps,
        seconds=progress.seconds,
    )
    checkpoints.save(writer, meta=meta, **progress.state.items())


def decide_end(config: Config, progress: Progress, steady_step: int, steady_seconds: float) -> int:
    """Returns the number of steps of the run; with `train.minutes` the clock decides it, once.

    When only the decay's share of the minutes is left, the end is set to where they will be over at the
    mean speed since `steady_step`, and the schedule's decay begins.
    """
    if progress.num_steps != UNDECIDED or progress.step == steady_step:
        return progress.num_steps
    total = 60 * config.train.minutes
    left = total - progress.seconds
    if left > config.optimizer.decay_share * total:
        return UNDECIDED
    pace = (progress.seconds - steady_seconds) / (progress.step - steady_step)
    return progress.step + max(1, round(left / pace))


@contextlib.contextmanager
def watch_signals() -> Generator[Stop]:
    """Yields what SIGINT and SIGTERM are noted in, instead of ending the process; a second Ctrl-C ends it."""
    stop = Stop()

    def catch(signum: int, _: Any) -> None:
        stop.caught = stop.caught or signum
        if signum == signal.SIGINT:
            signal.signal(signum, signal.SIG_DFL)  # ends it in the midst of a computation too
            os.write(2, b"\nending after this step, with a checkpoint; Ctrl-C again ends at once\n")

    before = {number: signal.signal(number, catch) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
