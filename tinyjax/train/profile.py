"""A profile of some steps, for TensorBoard's profiler and Perfetto."""

import contextlib
from collections.abc import Generator

import jax

from tinyjax.config import TrainConfig
from tinyjax.train.log import Clock
from tinyjax.train.report import Report

PROFILE = "profile"  # in the run folder


class Profiler:
    """Traces the steps that `config.train.profile_*` names, as far as they are made from here on."""

    def __init__(self, train: TrainConfig, report: Report, clock: Clock):
        """Writes beside the report; starting and ending are not on the clock."""
        count = train.profile_steps if report.speaks else 0
        self._steps = range(train.profile_from + 1, train.profile_from + count + 1)
        self._folder = report.local / PROFILE
        self._clock = clock
        self._running = False

    @contextlib.contextmanager
    def step(self, number: int) -> Generator[None]:
        """Marks what is inside as the step of this number; the last one of a profile is waited for."""
        if not self._running and number in self._steps:
            with self._clock.paused():
                jax.profiler.start_trace(str(self._folder))
            self._running = True
        with jax.profiler.StepTraceAnnotation("train", step_num=number):
            yield

    def follow(self, number: int, result: object) -> None:
        """Ends the profile after its last step, of which `result` is one."""
        if self._running and number == self._steps[-1]:
            jax.block_until_ready(result)
            with self._clock.paused():
                self.close()

    def close(self) -> None:
        """Ends a profile that is being taken."""
        if self._running:
            jax.profiler.stop_trace()
            self._running = False
