"""A plan: whether a run fits on chips that one hasn't got, and how fast it can go there at best."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax

from tinyjax.config import Config, from_dict, to_dict
from tinyjax.model import splash
from tinyjax.model.attention import choose
from tinyjax.model.flops import forward_flops, training_flops
from tinyjax.parallel.layout import device_bytes, layout
from tinyjax.parallel.sharding import RULES, make_mesh
from tinyjax.planning.compiling import (
    TooLarge,
    complete,
    evaluation_step,
    plan_mesh,
    sampling_loop,
    train_step,
)
from tinyjax.planning.cost import Cost, cost
from tinyjax.planning.target import Target
from tinyjax.train.step import abstract_state

STEPS = ("train", "evaluation", "sampling")
PLAIN = "plain"  # the training step written plainly, to compare with


@dataclasses.dataclass(frozen=True)
class Plan:
    """What was found out about a run on a target."""

    config: Config  # complete: vocabulary and dtype included
    target: Target
    mesh: dict[str, int]
    attention: str  # the implementation, and why not another
    parameter_bytes: int  # on each device
    optimizer_bytes: int  # on each device: its state, and the moving average where there is one
    steps: dict[str, Cost | TooLarge]  # by STEPS, as far as they were asked for

    @property
    def fits(self) -> bool:
        """Whether every step does: the compiler took it, and it needs no more than the device's HBM."""
        return all(fits(step, self.target) for name, step in self.steps.items() if name != PLAIN)

    @property
    def tokens(self) -> int:
        """Positions of a step, over all devices."""
        return self.config.data.batch_size * self.config.model.context_length

    @property
    def train(self) -> Cost | None:
        """What a training step costs; None where the compiler refused it."""
        step = self.steps["train"]
        return None if isinstance(step, TooLarge) else step

    @property
    def tokens_per_second(self) -> float | None:
        """At most, over all devices: were they never idle, and nothing waited for."""
        return None if self.train is None else self.tokens / self.train.seconds

    @property
    def utilisation(self) -> float | None:
        """MFU at most: the model's FLOPs as a share of what the chips could do meanwhile."""
        train = self.train
        return None if train is None else train.model_flops / self.target.chip.flops / train.seconds


def fits(step: Cost | TooLarge, target: Target) -> bool:
    """Tells whether a step fits in a device's memory."""
    return not isinstance(step, TooLarge) and step.memory.needed <= target.chip.hbm_bytes


def make_plan(config: Config, target: Target, vocab_size: int, steps: tuple[str, ...] = STEPS) -> Plan:
    """Compiles the steps for the target, 10 to 100 seconds each, and counts what they cost.

    Args:
      config: resolved.
      target: the chips.
      vocab_size: pieces of the tokenizer, where the config doesn't say.
      steps: which of STEPS and PLAIN.

    Raises:
      UserError: the config doesn't fit the mesh, or the mesh the chips.
    """
    config = complete(config, vocab_size)
    mesh = plan_mesh(config, target)
    sizes = dict(mesh.shape)
    model, tokens = config.model, config.data.batch_size * config.model.context_length
    compile_: dict[str, tuple[Callable[[], Any], float]] = {
        "train": (lambda: train_step(config, mesh), training_flops(model) * tokens / mesh.size),
        "evaluation": (
            lambda: evaluation_step(config, mesh),
            forward_flops(model) * tokens / config.train.accumulation / mesh.size,
        ),
        "sampling": (lambda: sampling_loop(config, target), 0.0),
        PLAIN: (lambda: train_step(plainly(config), mesh), training_flops(model) * tokens / mesh.size),
    }
    results: dict[str, Cost | TooLarge] = {}
    for name in steps:
        compiled, flops = compile_[name][0](), compile_[name][1]
        results[name] = compiled if isinstance(compiled, TooLarge) else cost(compiled, target, sizes, flops)
    state = abstract_state(config, mesh)
    return Plan(
        config, target, sizes, _attention(config, mesh), device_bytes(layout(state.params)),
        device_bytes(layout((state.opt_state, state.ema))), results,
    )  # fmt: skip


def _attention(config: Config, mesh: jax.sharding.Mesh) -> str:
    with jax.set_mesh(mesh):
        chosen = choose(config.model.attention, config.model.context_length)
    why_not = splash.refusal(config.model.context_length)
    return f"{chosen} (kernels can't be had: {why_not})" if chosen == "reference" and why_not else chosen


def plainly(config: Config) -> Config:
    """Returns the config without what saves memory: whole logits, whole scores, and all kept."""
    values = to_dict(config)
    values["model"] |= {"attention": "reference", "remat": "none"}
    values["train"]["loss_chunk"] = 0
    return from_dict(values).freeze()


def with_batch(config: Config, batch_size: int) -> Config:
    """Returns the config with another batch size."""
    values = to_dict(config)
    values["data"]["batch_size"] = batch_size
    return from_dict(values).freeze()


def largest_batch(
    config: Config, target: Target, vocab_size: int, tell: Callable[[str], None] = lambda _: None
) -> int:
    """Returns the largest batch size whose training step fits, 0 where none does; each try is a compile.

    Sizes are multiples of what the mesh and `train.accumulation` divide. Doubled until one doesn't fit, then
    halved in between until two neighbours differ by less than 5 %.
    """
    unit = _unit(config, target)

    def holds(units: int) -> bool:
        plan = make_plan(with_batch(config, units * unit), target, vocab_size, ("train",))
        tell(f"batch {units * unit}: {'fits' if plan.fits else 'too large'}")
        return plan.fits

    start = max(1, config.data.batch_size // unit)
    return unit * search_largest(holds, start)


def _unit(config: Config, target: Target) -> int:
    """The smallest batch: a row for each shard of the batch in each micro-batch."""
    mesh = make_mesh(config.mesh, target.devices)
    return math.prod(mesh.shape[axis] for axis in RULES["batch"]) * config.train.accumulation


def search_largest(holds: Callable[[int], bool], start: int) -> int:
    """Returns the largest number that `holds`, to within 5 %, 0 where 1 doesn't; it holds below if at all."""
    good, bad = 0, start
    while holds(bad):
        good, bad = bad, 2 * bad
    while bad - good > max(1, good // 20):
        middle = (good + bad) // 2
        good, bad = (middle, bad) if holds(middle) else (good, middle)
    return good
