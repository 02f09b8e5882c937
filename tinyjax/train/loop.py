"""The training loop: restore or start, step, log, evaluate, checkpoint, until done or told to stop."""

import contextlib
import signal
import time
from collections.abc import Callable, Generator
from typing import Any

import jax
from etils import epath

from tinyjax.checkpoint import manager as checkpoints
from tinyjax.checkpoint.manager import Meta
from tinyjax.config import Config, to_json
from tinyjax.data.loader import train_batches
from tinyjax.data.publish import write_file
from tinyjax.errors import Stopped
from tinyjax.evaluate.loss import Evaluation
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


def train(config: Config, run_dir: epath.PathLike) -> Evaluation:
    """Trains, or takes up, the run in `run_dir`; returns the loss over the validation split at the end.

    Raises:
      UserError: config, data and what is in `run_dir` don't fit together.
      Stopped: SIGINT or SIGTERM came; a checkpoint was written, and the same call goes on from it.
    """
    run = prepare_run(config, run_dir)
    progress = resume(run) or start(run)
    with open_report(run.folder, progress.step) as report:
        report.say(describe(run, progress))
        evaluate = make_evaluate(run, report)
        if progress.step < progress.num_steps:
            run_steps(run, progress, report, evaluate)
        if len(run.plan.mixture.sources) > 1:
            report.say(f"read: {describe_sources(run.plan, progress.step)}")
        return evaluate(progress)


def start(run: Run) -> Progress:
    """Starts a run at step 0 and writes its config into the run folder."""
    run.folder.mkdir(parents=True, exist_ok=True)
    check_free(run)
    write_file(run.folder / "config.json", to_json(run.config).encode())
    return Progress(compile_init(run.config, run.mesh)(), 0, run.plan.num_steps, 0.0)


def resume(run: Run) -> Progress | None:
    """Reads the newest checkpoint of the run folder, None when there is none."""
    found = checkpoints.steps(run.folder / CHECKPOINTS)
    if not found:
        return None
    folder = run.folder / CHECKPOINTS / str(found[-1])
    meta = checkpoints.read_meta(folder)
    check_same_run(run, meta)
    target = abstract_state(run.config, run.mesh)
    stored = checkpoints.read_state(folder, params=target.params, opt_state=target.opt_state)
    step = jax.device_put(jax.numpy.int32(meta.step), target.step.sharding)
    state = TrainState(step, stored["params"], stored["opt_state"])
    return Progress(state, meta.step, meta.num_steps, meta.seconds)


def run_steps(
    run: Run, progress: Progress, report: Report, evaluate: Callable[[Progress], Evaluation]
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
    with opened as writer, batches as batch_iterator, watch_signals() as caught:
        saved_at = clock.seconds
        while progress.step < progress.num_steps and not caught:
            if progress.step and progress.step % config.train.eval_every == 0:
                with clock.paused():
                    evaluate(progress)
            waited = time.monotonic()
            batch = put_batch(run.mesh, next(batch_iterator))
            waited = time.monotonic() - waited
            progress.state, metrics = step_fn(progress.state, batch, progress.num_steps)
            progress.step += 1
            log.add(progress, metrics, waited)
            progress.seconds = clock.seconds
            steady = steady or (progress.step, progress.seconds)
            progress.num_steps = decide_end(config, progress, *steady)
            due = progress.step % config.train.checkpoint_every == 0
            if due or clock.seconds - saved_at > 60 * config.train.checkpoint_minutes:
                save(run, progress, writer)
                saved_at = clock.seconds
        log.close(progress)
        save(run, progress, writer)
        checkpoints.finish(writer)
        if caught and progress.step < progress.num_steps:
            raise Stopped(caught[0], f"after step {progress.step}; a checkpoint was written")


def save(run: Run, progress: Progress, writer: Any) -> None:
    """Starts writing a checkpoint of the present state, unless this step has one."""
    if progress.step in writer.all_steps():
        return
    checkpoints.save(
        writer,
        progress.state.params,
        progress.state.opt_state,
        Meta(
            step=progress.step,
            config=run.config,
            tokenizer=run.plan.mixture.tokenizer,
            dataset=run.plan.mixture.fingerprint,
            instruct=run.plan.mixture.instruct,
            num_steps=progress.num_steps,
            seconds=progress.seconds,
        ),
    )


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
def watch_signals() -> Generator[list[int]]:
    """Yields a list that SIGINT and SIGTERM append to, instead of ending the process."""
    caught: list[int] = []
    before = {
        number: signal.signal(number, lambda signum, _: caught.append(signum))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
