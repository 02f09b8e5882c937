"""The log of training: metrics averaged over an interval, and the clock they are timed by."""

import contextlib
import math
import time
from collections.abc import Generator, Sequence

import jax
from jax.sharding import Mesh

from tinyjax.config import ModelConfig, TrainConfig
from tinyjax.errors import UserError
from tinyjax.model.flops import training_flops
from tinyjax.parallel.chips import find
from tinyjax.train.optimizer import UNDECIDED
from tinyjax.train.plan import ceiling_metrics
from tinyjax.train.report import Report
from tinyjax.train.run import Progress, Run
from tinyjax.train.statistics import as_metrics
from tinyjax.train.step import Metrics


class Clock:
    """Seconds of training, without the pauses."""

    def __init__(self, seconds: float):
        """Starts at `seconds`."""
        self._start = time.monotonic() - seconds
        self.lost = 0.0  # of these seconds since the start, in which no step was made

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return time.monotonic() - self._start

    @contextlib.contextmanager
    def paused(self) -> Generator[None]:
        """Doesn't count what happens inside."""
        begin = time.monotonic()
        try:
            yield
        finally:
            self._start += time.monotonic() - begin

    @contextlib.contextmanager
    def held_up(self) -> Generator[None]:
        """Counts what happens inside as training that waits, in `lost`."""
        begin = time.monotonic()
        yield
        self.lost += time.monotonic() - begin


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
        self._lost = 0.0  # on the clock, before the interval
        self._step_seconds = 0.0  # of the last interval
        self._speed = Speed(run.config.model, run.mesh)

    def add(self, progress: Progress, metrics: Metrics, waited: float) -> None:
        """Takes the metrics of the step just dispatched; writes a line of those before it if it is due."""
        every = self._run.config.train.statistics_every
        if every and progress.step % every:
            metrics = metrics._replace(statistics=None)
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
            self._lost = self._clock.lost

    def _write(self, step: int, progress: Progress) -> None:
        values: list[Metrics] = jax.device_get(self._pending)
        loss, first = mean_loss(values), step - len(values) + 1
        for number, m in enumerate(values, first):
            if m.statistics is not None:
                self._report.metrics(number, as_metrics(m.statistics))
        line = {
            "loss": loss,
            "bits_per_byte": loss / math.log(2) / self._run.plan.mixture.bytes_per_token,
            "grad_norm": float(values[-1].grad_norm),
            "learning_rate": float(values[-1].learning_rate_share) * self._run.config.optimizer.learning_rate,
            "seconds": progress.seconds,
            **ceiling_metrics(self._run.plan, step),
            **guard_metrics(values),
            **self._speeds([int(m.tokens) for m in values[self._untimed :]]),
            **self._report.goodput.metrics(),
        }
        self._report.metrics(step, line)
        self._report.progress(*self._status(progress, line))
        self._pending = []
        check_skipped(self._run.config.train, first, values)

    def _speeds(self, tokens: list[int]) -> dict[str, float]:
        """Returns how fast the steps of the interval were that had these tokens; begins the next one."""
        now, lost = self._clock.seconds, self._clock.lost
        seconds, blocked = now - (self._begin or 0.0), lost - self._lost
        waited, self._waited = self._waited, 0.0
        self._begin, self._lost, self._untimed = now, lost, 0
        if not tokens:
            return {}
        self._report.goodput.add(seconds - blocked)
        self._step_seconds = seconds / len(tokens)
        positions = len(tokens) * self._run.plan.batch_size * self._run.plan.mixture.context_length
        return {
            "tokens_per_second": sum(tokens) / seconds,
            "input_wait_share": waited / seconds,
            **self._speed.metrics(positions / seconds),
        }

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
            f"{line.get('tokens_per_second', 0):,.0f} tokens/s  "
            + (f"MFU {line['mfu']:.0%}  " if "mfu" in line else "")
            + f"{left // 60:.0f}:{left % 60:02.0f} left"
        )


class Speed:
    """Model FLOP/s of a run, and what share they are of the devices' peak."""

    def __init__(self, model: ModelConfig, mesh: Mesh):
        """Looks up the chips; their peak is None where they aren't known, as of CPUs."""
        chip = find(mesh.devices.flat[0].device_kind)
        self._flops_per_token = training_flops(model)
        self._peak = None if chip is None else mesh.size * chip.device.flops

    def metrics(self, positions_per_second: float) -> dict[str, float]:
        """Returns them for so many positions a second, padding included, as it is computed too."""
        flops = positions_per_second * self._flops_per_token
        return {"flops_per_second": flops} | ({"mfu": flops / self._peak} if self._peak else {})


def mean_loss(values: Sequence[Metrics]) -> float:
    """Returns the mean loss over the tokens of the updates that were made; of all, where none was."""
    made = [m for m in values if not m.skipped] or values
    tokens = [int(m.tokens) for m in made]
    return sum(float(m.loss) * n for m, n in zip(made, tokens, strict=True)) / max(sum(tokens), 1)


def guard_metrics(values: Sequence[Metrics]) -> dict[str, float]:
    """Returns how many of the updates the guard skipped; {} without a guard."""
    skipped = [m.skipped for m in values if m.skipped is not None]
    return {"skipped": sum(int(count) > 0 for count in skipped)} if skipped else {}


def check_skipped(train: TrainConfig, first_step: int, values: Sequence[Metrics]) -> None:
    """Raises UserError at the first update, counted from `first_step`, that was one skipped too many."""
    for step, m in enumerate(values, first_step):
        if m.skipped is not None and m.skipped >= train.max_skipped:
            raise UserError(
                f"the {m.skipped} updates up to step {step} were skipped, all in a row (loss {m.loss:.4g}, "
                f"gradient norm {m.grad_norm:.4g}), which is as many as config.train.max_skipped allows; the "
                "last good checkpoint is kept: start a new run with a lower config.optimizer.learning_rate, "
                "or with a higher spike_factor if that is what skipped them"
            )
