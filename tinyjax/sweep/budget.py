"""How long each model of a sweep trains where all get the same FLOPs."""

from tinyjax.config import Config
from tinyjax.errors import UserError
from tinyjax.model.flops import training_flops
from tinyjax.sweep.study import Member


def flops_per_step(config: Config) -> float:
    """Returns the model FLOPs of a step, padding included; the config names its vocabulary's size."""
    return training_flops(config.model) * config.data.batch_size * config.model.context_length


def batch_and_steps(config: Config, member: Member) -> tuple[int, int]:
    """Returns the windows of a step and the number of steps that come nearest to the member's FLOPs.

    Raises:
      UserError: they make fewer steps than the member asks for, whatever the batch.
    """
    batch, least = config.data.batch_size, max(member.least_steps, 1)
    per_window = flops_per_step(config) / batch
    while round(member.flops / (batch * per_window)) < least and _can_halve(config, batch):
        batch //= 2
    steps = round(member.flops / (batch * per_window))
    if steps < least:
        raise UserError(
            f"'{member.name}' makes {steps} steps of {batch} windows with {member.flops:.3g} FLOPs, and is "
            f"to make {least} at least; raise its flops, or lower its least_steps or the accumulation"
        )
    return batch, min(steps, member.most_steps or steps)


def _can_halve(config: Config, batch: int) -> bool:
    """Whether half a batch is still whole micro-batches."""
    return batch % (2 * config.train.accumulation) == 0
