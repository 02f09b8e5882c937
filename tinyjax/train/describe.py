"""What a run says of itself in words: at its start what is planned, at its end what was read."""

import math

import jax

from tinyjax.config import Config
from tinyjax.model import parameters
from tinyjax.model.flops import training_flops
from tinyjax.parallel import layout
from tinyjax.train.optimizer import UNDECIDED
from tinyjax.train.plan import Plan
from tinyjax.train.run import Progress, Run
from tinyjax.train.step import abstract_state

# A source read more often is warned about: from the fifth time on, text teaches clearly less than new text
# would (Muennighoff et al. 2023, Scaling Data-Constrained Language Models).
MANY_EPOCHS = 4


def describe(run: Run, progress: Progress) -> str:
    """Returns the lines a run starts with: model, data, devices, and whether it is a continuation."""
    counts = parameters.count(run.config.model)
    device = run.mesh.devices.flat[0]
    lines = [
        f"model: {counts['total'] / 1e6:.2f}M parameters ({counts['body'] / 1e6:.2f}M in the blocks, "
        f"{counts['embedding'] / 1e6:.2f}M in the embedding), {run.config.model.compute_dtype}, "
        f"{training_flops(run.config.model) / 1e6:,.1f} MFLOP a token",
        *describe_plan(run.plan, run.config),
        f"devices: {run.mesh.size} x {device.device_kind} ({device.platform})",
        *describe_layout(run),
    ]
    if progress.step:
        done = progress.step >= progress.num_steps
        lines.append(
            f"run folder {run.folder}: "
            + ("already trained, " if done else "going on after ")
            + f"step {progress.step}"
        )
    return "\n".join(lines)


def describe_layout(run: Run) -> list[str]:
    """Returns the lines on what each device holds: the parameters one by one, where the mesh divides them."""
    if run.mesh.size == 1:
        return []
    state = abstract_state(run.config, run.mesh)
    params = layout.layout(state.params)
    totals = [layout.device_bytes(params), layout.device_bytes(layout.layout(state.opt_state))]
    sizes = " x ".join(f"{name} {count}" for name, count in run.mesh.shape.items() if count > 1)
    processes = f", {jax.process_count()} processes" if jax.process_count() > 1 else ""
    divided = run.mesh.shape["fsdp"] * run.mesh.shape["tensor"] > 1
    return [
        f"mesh: {sizes}{processes}; each device holds {layout.size(totals[0])} of parameters and "
        f"{layout.size(totals[1])} of optimizer state",
        *(layout.table(params) if divided else []),
    ]


def describe_plan(plan: Plan, config: Config) -> list[str]:
    """Returns the lines on what will be read, and a warning of what will be read very often."""
    lines = [
        f"data: {config.data.path}, {plan.batch_size} windows of {plan.mixture.context_length} tokens a step",
        f"length: {_describe_length(plan, config)}",
    ]
    if len(plan.mixture.sources) > 1:
        lines.append(f"mixture: {describe_sources(plan, plan.num_steps)}")
    if plan.ramps:
        bands = max(ramp.num_bands for ramp in plan.ramps)
        steps = math.ceil(config.curriculum.ramp * plan.num_steps)
        lines.append(f"curriculum: {bands} bands of difficulty, easiest first, all open after step {steps:,}")
    return lines + _warn_of_repeats(plan)


def _describe_length(plan: Plan, config: Config) -> str:
    if plan.num_steps == UNDECIDED:
        return f"{config.train.minutes:g} minutes"
    sources = list(zip(plan.mixture.sources, plan.counts(plan.num_steps), strict=True))
    epochs = plan.num_steps * plan.batch_size / plan.mixture.num_windows
    tokens = sum(count * source.tokens_per_window for source, count in sources)
    return f"{plan.num_steps:,} steps, {epochs:.2f} epochs, {tokens:,.0f} tokens"


def describe_sources(plan: Plan, step: int) -> str:
    """Returns each source's share and epochs in `step` steps; the shares alone where it is UNDECIDED."""
    sources = plan.mixture.sources
    if step == UNDECIDED:
        total = sum(source.weight for source in sources)
        return "; ".join(f"{source.name} {source.weight / total:.1%}" for source in sources)
    return "; ".join(
        f"{source.name} {count / (step * plan.batch_size):.1%}, {count / source.num_windows:.2f} epochs"
        for source, count in zip(sources, plan.counts(step), strict=True)
    )


def _warn_of_repeats(plan: Plan) -> list[str]:
    if plan.num_steps == UNDECIDED:
        return []
    counts = zip(plan.mixture.sources, plan.counts(plan.num_steps), strict=True)
    epochs = {source.name: count / source.num_windows for source, count in counts}
    often = ", ".join(f"{name} {number:.1f}" for name, number in epochs.items() if number > MANY_EPOCHS)
    return (
        [f"warning: more than {MANY_EPOCHS} epochs of {often}; more stories would teach more"]
        if often
        else []
    )
