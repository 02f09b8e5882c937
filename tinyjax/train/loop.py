"""The training loop: restore or start, step, log, evaluate, checkpoint, until done or told to stop."""

import contextlib
import dataclasses
import json
import math
import signal
import time
from collections.abc import Callable, Generator
from typing import Any

import jax
from etils import epath
from jax.sharding import Mesh

from tinyjax.checkpoint import manager as checkpoints
from tinyjax.checkpoint.manager import Meta
from tinyjax.config import Config, to_dict, to_json
from tinyjax.data.loader import evaluation_batches, train_batches
from tinyjax.data.prepare import Prepared, load_prepared
from tinyjax.data.publish import write_file
from tinyjax.errors import Stopped, UserError
from tinyjax.evaluate.loss import Evaluation, compile_scores, evaluate_loss
from tinyjax.model import parameters
from tinyjax.parallel.sharding import check_batch, check_divides, local_rows, make_mesh, put_batch
from tinyjax.train.optimizer import UNDECIDED
from tinyjax.train.report import Report, open_report
from tinyjax.train.step import (
    Metrics,
    TrainState,
    abstract_state,
    compile_init,
    compile_step,
)

CHECKPOINTS = "checkpoints"

# What may differ between a run and its continuation: none of it changes a result.
FREE = ("data.path", "data.workers", "data.prefetch", "train.log_every", "train.eval_every",
        "train.checkpoint_every", "train.checkpoint_minutes")  # fmt: skip

# The sizes of a model that its mesh must divide, and the logical axis of each.
DIVIDED = {"d_model": "embed", "num_heads": "heads", "num_kv_heads": "kv_heads", "d_ff": "hidden",
           "vocab_size": "vocab", "context_length": "position"}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Run:
    """What stays the same while a run goes on."""

    config: Config
    folder: epath.Path
    prepared: Prepared
    mesh: Mesh


@dataclasses.dataclass
class Progress:
    """Where a run is."""

    state: TrainState
    step: int  # updates made
    num_steps: int  # of the whole run, or UNDECIDED
    seconds: float  # spent training, earlier starts included


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
        return evaluate(progress)


def prepare_run(config: Config, run_dir: epath.PathLike) -> Run:
    """Opens the data, completes the config from it, and checks that all fits."""
    if not config.data.path:
        raise UserError("config.data.path is empty; give a folder written by tinyjax.bin.prepare")
    prepared = load_prepared(config.data.path)
    if prepared.context_length != config.model.context_length:
        raise UserError(
            f"config.model.context_length is {config.model.context_length} but the windows in "
            f"'{prepared.path}' have {prepared.context_length} positions; set it to that, or prepare again"
        )
    model = dataclasses.replace(
        config.model,
        vocab_size=_vocab_size(config.model.vocab_size, prepared.tokenizer.vocab_size),
        compute_dtype=_compute_dtype(config.model.compute_dtype),
    )
    config = dataclasses.replace(config, model=model).freeze()
    mesh = make_mesh(config.mesh)
    check_batch(mesh, config.data.batch_size)
    for field, axis in DIVIDED.items():
        check_divides(mesh, f"config.model.{field}", getattr(model, field), axis)
    return Run(config, epath.Path(run_dir), prepared, mesh)


def _vocab_size(wanted: int, pieces: int) -> int:
    if wanted and wanted < pieces:
        raise UserError(
            f"config.model.vocab_size is {wanted} but the tokenizer has {pieces} pieces; leave it at 0"
        )
    return wanted or math.ceil(pieces / 64) * 64


def _compute_dtype(wanted: str) -> str:
    """Chooses bfloat16 where the hardware multiplies it fast: accelerators, and CPUs with AMX."""
    if wanted != "auto":
        return wanted
    if jax.default_backend() != "cpu":
        return "bfloat16"
    cpuinfo = epath.Path("/proc/cpuinfo")
    return "bfloat16" if cpuinfo.exists() and "amx_bf16" in cpuinfo.read_text() else "float32"


def start(run: Run) -> Progress:
    """Starts a run at step 0 and writes its config into the run folder."""
    run.folder.mkdir(parents=True, exist_ok=True)
    file = run.folder / "config.json"
    if file.exists() and _changed(_read_dict(file), run.config):
        raise UserError(
            f"'{file}' is of other settings, and there is no checkpoint beside it; choose another --run_dir, "
            "or move that file away"
        )
    write_file(file, to_json(run.config).encode())
    train_config = run.config.train
    num_steps = UNDECIDED if train_config.minutes else train_config.num_steps
    return Progress(compile_init(run.config, run.mesh)(), 0, num_steps, 0.0)


def resume(run: Run) -> Progress | None:
    """Reads the newest checkpoint of the run folder, None when there is none."""
    found = checkpoints.steps(run.folder / CHECKPOINTS)
    if not found:
        return None
    folder = run.folder / CHECKPOINTS / str(found[-1])
    meta = checkpoints.read_meta(folder)
    _check_same_run(run, meta)
    target = abstract_state(run.config, run.mesh)
    stored = checkpoints.read_state(folder, params=target.params, opt_state=target.opt_state)
    step = jax.device_put(jax.numpy.int32(meta.step), target.step.sharding)
    state = TrainState(step, stored["params"], stored["opt_state"])
    return Progress(state, meta.step, meta.num_steps, meta.seconds)


def _check_same_run(run: Run, meta: Meta) -> None:
    where = f"the run in '{run.folder}'"
    mend = "choose another --run_dir for a new run"
    if meta.tokenizer.sha256 != run.prepared.tokenizer.sha256:
        raise UserError(f"{where} was started with another tokenizer than the data's; {mend}")
    if meta.dataset != run.prepared.fingerprint:
        raise UserError(f"{where} was started on other stories than '{run.prepared.path}'; {mend}")
    if changed := _changed(to_dict(meta.config), run.config):
        raise UserError(f"{where} was started with other settings: {'; '.join(changed)}; {mend}")


def _changed(stored: dict[str, Any], config: Config) -> list[str]:
    """Returns what differs between a stored config and this one, but for what is FREE."""
    then, now = _flat(stored), _flat(to_dict(config))
    return [
        f"config.{name} was {then.get(name)!r} and is now {now.get(name)!r}"
        for name in sorted(then | now)
        if then.get(name) != now.get(name) and name not in FREE
    ]


def _read_dict(file: epath.Path) -> dict[str, Any]:
    """Reads a JSON object; a file that holds anything else counts as empty."""
    try:
        values = json.loads(file.read_text())
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    return {
        name: leaf
        for key, value in values.items()
        for name, leaf in (
            _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
        ).items()
    }


def describe(run: Run, progress: Progress) -> str:
    """Returns the lines a run starts with: model, data, devices, and whether it is a continuation."""
    counts = parameters.count(run.config.model)
    device = run.mesh.devices.flat[0]
    data = run.config.data
    lines = [
        f"model: {counts['total'] / 1e6:.2f}M parameters ({counts['body'] / 1e6:.2f}M in the blocks, "
        f"{counts['embedding'] / 1e6:.2f}M in the embedding), {run.config.model.compute_dtype}",
        f"data: {data.path}, {data.batch_size} windows of {run.prepared.context_length} tokens a step",
        f"devices: {run.mesh.size} x {device.device_kind} ({device.platform})",
    ]
    if progress.step:
        done = progress.step >= progress.num_steps
        lines.append(
            f"run folder {run.folder}: "
            + ("already trained, " if done else "going on after ")
            + f"step {progress.step}"
        )
    return "\n".join(lines)


def make_evaluate(run: Run, report: Report) -> Callable[[Progress], Evaluation]:
    """Returns the function that evaluates the whole validation split, and logs and prints the result."""
    windows = run.prepared.windows("validation")
    scores = compile_scores(run.config.model, run.mesh)
    batch_size = run.config.data.batch_size
    rows = local_rows(run.mesh, batch_size)

    def evaluate(progress: Progress) -> Evaluation:
        batches = evaluation_batches(windows, batch_size, rows=rows)
        token_bytes_V = run.prepared.tokenizer.token_bytes_V
        result = evaluate_loss(scores, progress.state.params, batches, token_bytes_V, run.mesh)
        report.metrics(progress.step, {f"validation/{k}": v for k, v in dataclasses.asdict(result).items()})
        report.say(
            f"step {progress.step}: validation {result.bits_per_byte:.4f} ± {result.standard_error:.4f} "
            f"bits/byte, {result.nats_per_token:.4f} nats/token over {result.stories:,} stories"
        )
        return result

    return evaluate


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
        run.prepared.windows("train"),
        config.data.batch_size,
        config.train.seed,
        start_step=progress.step,
        rows=local_rows(run.mesh, config.data.batch_size),
        workers=config.data.workers,
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
            tokenizer=run.prepared.tokenizer,
            dataset=run.prepared.fingerprint,
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


class Clock:
    """Seconds of training, without the pauses."""

    def __init__(self, seconds: float):
        """Starts at `seconds`."""
        self._start = time.monotonic() - seconds

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return time.monotonic() - self._start

    @contextlib.contextmanager
    def paused(self) -> Generator[None]:
        """Doesn't count what happens inside."""
        begin = time.monotonic()
        yield
        self._start += time.monotonic() - begin


class Log:
    """Averages the metrics between two lines of the log.

    A step's metrics are read only after the next step was dispatched, so the devices never wait for it.
    """

    def __init__(self, run: Run, report: Report, clock: Clock):
        """Starts an interval."""
        self._run = run
        self._report = report
        self._clock = clock
        self._pending: list[Metrics] = []
        self._waited = 0.0
        self._begin: float | None = None  # of the interval, on the clock
        self._untimed = 0  # steps at its start that compiled
        self._step_seconds = 0.0  # of the last interval

    def add(self, progress: Progress, metrics: Metrics, waited: float) -> None:
        """Takes the metrics of the step just dispatched; writes a line of those before it if it is due."""
        if self._pending:
            self._wait()
            if (progress.step - 1) % self._run.config.train.log_every == 0:
                self._write(progress.step - 1, progress)
        self._pending.append(metrics)
        self._waited += waited

    def close(self, progress: Progress) -> None:
        """Writes the line of the steps that are left."""
        if self._pending:
            self._wait()
            self._write(progress.step, progress)

    def _wait(self) -> None:
        """Waits for the newest step; the first one compiles, so time counts from its end."""
        jax.block_until_ready(self._pending[-1])
        if self._begin is None:
            self._begin, self._untimed, self._waited = self._clock.seconds, 1, 0.0

    def _write(self, step: int, progress: Progress) -> None:
        values: list[Metrics] = jax.device_get(self._pending)
        tokens = [int(m.tokens) for m in values]
        loss = sum(float(m.loss) * n for m, n in zip(values, tokens, strict=True)) / max(sum(tokens), 1)
        line = {
            "loss": loss,
            "bits_per_byte": loss / math.log(2) / self._run.prepared.manifest["tokenizer"]["bytes_per_token"],
            "grad_norm": float(values[-1].grad_norm),
            "learning_rate": float(values[-1].learning_rate_share) * self._run.config.optimizer.learning_rate,
            "seconds": progress.seconds,
        }
        now = self._clock.seconds
        if timed := tokens[self._untimed :]:
            seconds = now - (self._begin or 0.0)
            self._step_seconds = seconds / len(timed)
            line["tokens_per_second"] = sum(timed) / seconds
            line["input_wait_share"] = self._waited / seconds
        self._report.metrics(step, line)
        self._report.progress(*self._status(progress, line))
        self._begin, self._pending, self._waited, self._untimed = now, [], 0.0, 0

    def _status(self, progress: Progress, line: dict[str, float]) -> tuple[float, str]:
        total = 60 * self._run.config.train.minutes
        if progress.num_steps == UNDECIDED:
            share, left = progress.seconds / total, total - progress.seconds
        else:
            share = progress.step / progress.num_steps
            left = (progress.num_steps - progress.step) * self._step_seconds
        left = max(left, 0)
        return share, (
            f"step {progress.step}  loss {line['loss']:.3f}  {line['bits_per_byte']:.3f} bits/byte  "
            f"{line.get('tokens_per_second', 0):,.0f} tokens/s  {left // 60:.0f}:{left % 60:02.0f} left"
        )


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
