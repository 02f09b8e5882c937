"""What a run reads and for how long: sources, steps and curriculum, worked out from config and data."""

import dataclasses
import fractions
import math
from collections.abc import Sequence

import grain
import numpy as np

from tinyjax.config import Config
from tinyjax.data.curriculum import Ramp, count_bands, first_epoch, longest_ramp
from tinyjax.data.loader import Draws, draw_epochs
from tinyjax.data.mixture import Mixture, Source, open_mixture
from tinyjax.data.windows import Windows
from tinyjax.errors import UserError
from tinyjax.train.optimizer import UNDECIDED


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a run reads."""

    mixture: Mixture
    batch_size: int  # windows a step reads
    story_only: bool  # instructions don't count in the loss
    num_steps: int  # of the whole run, or UNDECIDED
    ramps: tuple[Ramp, ...] = ()  # of each source; none without a curriculum

    def counts(self, step: int) -> list[int]:
        """Returns how many windows of each source the first `step` steps read."""
        return self.mixture.shares.counts(step * self.batch_size)

    def windows(self, source: Source, split: str) -> Windows:
        """Opens the windows of a source."""
        return source.prepared.windows(split, story_only=self.story_only)


def make_plan(config: Config) -> Plan:
    """Opens what the config names, and works out what is read when; UserError where that can't be."""
    mixture = open_mixture(config.data.path)
    num_steps = count_steps(config, mixture.num_windows)
    plan = Plan(mixture, config.data.batch_size, config.data.loss == "story", num_steps)
    ramp = config.curriculum.ramp
    return dataclasses.replace(plan, ramps=_plan_ramps(plan, ramp)) if ramp else plan


def count_steps(config: Config, windows_per_epoch: int) -> int:
    """Returns the steps of a run, enough to end its last epoch; UNDECIDED where the clock decides."""
    if config.train.minutes:
        return UNDECIDED
    windows = fractions.Fraction(str(config.train.num_epochs)) * windows_per_epoch
    return config.train.num_steps or math.ceil(windows / config.data.batch_size)


def _plan_ramps(plan: Plan, share: float) -> tuple[Ramp, ...]:
    """Returns how the bands of each source open, over its own share of what is drawn."""
    if plan.num_steps == UNDECIDED:
        raise UserError(
            "config.curriculum.ramp is a share of training, whose length isn't known with "
            "config.train.minutes; give config.train.num_steps or config.train.num_epochs instead"
        )
    bands = [plan.windows(source, "train").bands for source in plan.mixture.sources]
    for source, bands_W in zip(plan.mixture.sources, bands, strict=True):
        if count_bands(bands_W) < 2:
            raise UserError(
                f"config.curriculum.ramp is {share} but '{source.prepared.path}' has no bands of difficulty; "
                "prepare it again, into another folder, with --bands=8, or set the ramp to 0"
            )
    draws = plan.counts(plan.num_steps)
    _check_ramp(share, draws, bands)
    return tuple(
        Ramp(int(share * count), count_bands(bands_W)) for count, bands_W in zip(draws, bands, strict=True)
    )


def _check_ramp(share: float, draws: Sequence[int], bands: Sequence[np.ndarray]) -> None:
    """Raises UserError where a ramp would draw more windows than its open bands have."""
    suffices = [(count, longest_ramp(bands_W)) for count, bands_W in zip(draws, bands, strict=True)]
    if any(int(share * count) > longest for count, longest in suffices):
        largest = min(longest / count for count, longest in suffices if count)
        raise UserError(
            f"config.curriculum.ramp is {share}; a ramp draws no window twice, and for a run of this length "
            f"there are windows for at most {math.floor(largest * 10_000) / 10_000}"
        )


def training_draws(plan: Plan, seed: int) -> Draws:
    """Returns all windows of the run by the number of their draw."""
    draws = []
    for number, source in enumerate(plan.mixture.sources):
        windows = plan.windows(source, "train")
        own_seed = (seed + number) % 2**32  # equal sources don't move in step
        order_W = first_epoch(windows.bands, plan.ramps[number].draws, own_seed) if plan.ramps else None
        draws.append(draw_epochs(windows, own_seed, order_W))
    return grain.MapDataset.select_from_datasets(draws, plan.mixture.shares)


def source_metrics(plan: Plan, step: int) -> dict[str, float]:
    """Returns the share and the epochs of each source of a mixture over `step` steps; {} for one source."""
    if len(plan.mixture.sources) == 1:
        return {}
    counts, total = plan.counts(step), step * plan.batch_size
    return {
        f"data/{source.name}/{name}": value
        for source, count in zip(plan.mixture.sources, counts, strict=True)
        for name, value in (("share", count / total), ("epochs", count / source.num_windows))
    }


def ceiling_metrics(plan: Plan, step: int) -> dict[str, float]:
    """Returns the share of the bands that were open at the last draw of `step` steps; {} without a ramp."""
    last_draws = [max(count - 1, 0) for count in plan.counts(step)]
    ceilings = [
        ramp.open_bands(draw) / ramp.num_bands for ramp, draw in zip(plan.ramps, last_draws, strict=False)
    ]
    if len(ceilings) == 1:
        return {"curriculum/ceiling": ceilings[0]}
    names = [source.name for source in plan.mixture.sources]
    return {f"curriculum/{name}/ceiling": ceiling for name, ceiling in zip(names, ceilings, strict=False)}
