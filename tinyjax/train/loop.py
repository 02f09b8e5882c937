"""The training loop: restore or start, step, log, evaluate, checkpoint, until done or told to stop."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

import jax
from etils import epath

from tinyjax.checkpoint import manager as checkpoints
from tinyjax.checkpoint.manager import Meta
from tinyjax.checkpoint.partial import parameters_from
from tinyjax.checkpoint.remote import probe
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
from tinyjax.train.report import Report, open_report
from tinyjax.train.run import Progress, Run, check_free, check_same_run, prepare_run
from tinyjax.train.step import TrainState, abstract_state, compile_init, compile_step
from tinyjax.train.validation import make_evaluate

CHECKPOINTS = "checkpoints"


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

    def watch(self, batches: Iterator[Window]) -> Iterator[Window]:
        """Hands on the batches of an evaluation; raises Stopped between them, with all steps saved."""
        for batch in batches:
            self.ask()
            if self.signum:
                raise Stopped(self.signum, "in an evaluation; there is a checkpoint of the steps before it")
            yield batch


def train(config: Config, run_dir: epath.PathLike) -> Evaluation:
    """Trains, or takes up, the run in `run_dir`; returns the loss over the validation split at the end.

    Raises:
      UserError: config, data and what is in `run_dir` don't fit together.
      Stopped: SIGINT or SIGTERM came; a checkpoint was written, and the same call goes on from it.
    """
    with watch_signals() as stop:
        run = prepare_run(config, run_dir)
        progress = resume(run) or start(run)
        return _train(run, progress, stop)


def _train(run: Run, progress: Progress, stop: Stop) -> Evaluation:
    with open_report(run.folder, progress.step) as report:
        report.say(describe(run, progress))
        evaluate = make_evaluate(run, report, stop.watch)
        if progress.step < progress.num_steps:
            run_steps(run, progress, report, evaluate, stop)
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
    probe(run.folder)
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
    config = run.config
    step_fn = compile_step(config, run.mesh)
    opened = checkpoints.open_for_writing(run.folder / CHECKPOINTS, config.train.checkpoint_every)
    clock = Clock(progress.seconds)
    log = Log(run, report, clock)
    steady: tuple[int, float] | None = None  # step and seconds when the first, which compiles, was made
    batches = train_batches(
        training_draws(run.plan, config.train.seed),
        config.data.batch_size,
        start_step=progress.step,
        rows=local_rows(run.mesh, config.data.batch_size),
        workers=config.data.grain_workers,
        prefetch=config.data.prefetch,
    )
    with opened as writer, batches as batch_iterator:
        saved_at = clock.seconds
        stop.ask()
        while progress.step < progress.num_steps and not stop.signum:
            if progress.step and progress.step % config.train.eval_every == 0:
                with clock.paused(), contextlib.suppress(Stopped):
                    evaluate(progress)
                if stop.signum:
                    break
            waited = time.monotonic()
            batch = put_batch(run.mesh, next(batch_iterator))
            waited = time.monotonic() - waited
            progress.state, metrics = step_fn(progress.state, batch, progress.num_steps)
            progress.step += 1
            log.add(progress, metrics, waited)
            checkpoints.check(writer)
            if progress.step - 1 in writer.all_steps():
                report.publish()
            progress.seconds = clock.seconds
            steady = steady or (progress.step, progress.seconds)
            decided = decide_end(config, progress, *steady)
            overdue = clock.seconds - saved_at > 60 * config.train.checkpoint_minutes
            overdue, progress.num_steps = stop.ask(overdue, decided)
            if overdue or progress.step % config.train.checkpoint_every == 0:
                save(run, progress, writer)
                saved_at = clock.seconds
        log.close(progress)
        save(run, progress, writer)
        checkpoints.finish(writer)
        report.publish()
        if stop.signum and progress.step < progress.num_steps:
            raise Stopped(stop.signum, f"after step {progress.step}; a checkpoint was written")


def save(run: Run, progress: Progress, writer: Any) -> None:
    """Starts writing a checkpoint of the present state, unless this step has one, or its update was skipped.

    What made the guard skip it may be in the parameters; an earlier checkpoint must not go for that.
    """
    guard = progress.state.guard
    if progress.step in writer.all_steps() or (guard is not None and int(guard.skipped)):
        return
    meta = Meta(
        step=progress.step,
        config=run.config,
        tokenizer=run.plan.mixture.tokenizer,
        dataset=run.plan.mixture.fingerprint,
        instruct=run.plan.mixture.instruct,
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
