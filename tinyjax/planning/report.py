"""A plan in words, and as a dict for JSON."""

import dataclasses
from typing import Any

from tinyjax.config import to_dict
from tinyjax.parallel.layout import size
from tinyjax.planning.compiling import STORIES, TooLarge
from tinyjax.planning.cost import Cost
from tinyjax.planning.plan import PLAIN, Plan, fits

ESTIMATES = (
    "From the compiled programs: bytes in memory, donated buffers, products of matrices, collectives.",
    "Estimates: HBM traffic (operands and results of each instruction, times loops), and all times, which",
    "are bytes and FLOPs by the chips' published peaks. A real step takes longer than its longest part.",
)


def lines(plan: Plan) -> list[str]:
    """Returns what a plan says, line by line."""
    target, config = plan.target, plan.config
    chip = f"{target.topology}: {target.num_chips} chips, {len(target.devices)} devices"
    mesh = ", ".join(f"{name} {n}" for name, n in plan.mesh.items() if n > 1) or "one device"
    told = [
        f"{chip} of {target.chip.flops / 1e12:.4g} TFLOP/s, {size(target.chip.hbm_bytes)} at "
        f"{target.chip.hbm_rate / 1e9:,.4g} GB/s each; mesh: {mesh}",
        f"batch {config.data.batch_size} x {config.model.context_length} tokens in "
        f"{config.train.accumulation} micro-batches, vocabulary {config.model.vocab_size}, "
        f"{config.model.compute_dtype}, attention: {plan.attention}, remat: {config.model.remat}",
    ]
    if target.instead:
        told.append(
            f"NOT compiled for TPUs: {target.instead}. These are a CPU's programs: their memory, traffic and "
            "collectives differ from a TPU's"
        )
    told.append(
        f"each device holds parameters {size(plan.parameter_bytes)}, optimizer {size(plan.optimizer_bytes)}"
    )
    for name, step in plan.steps.items():
        told += ["", *_step(plan, name, step)]
    if PLAIN in plan.steps:
        told += ["", _compared(plan)]
    told += ["", _verdict(plan)]
    return [*told, "", *ESTIMATES]


def _step(plan: Plan, name: str, step: Cost | TooLarge) -> list[str]:
    limit = size(plan.target.chip.hbm_bytes)
    if isinstance(step, TooLarge):
        return [f"{name}: does NOT fit: needs {_needed(step)} a device of {limit}"]
    memory, verdict = step.memory, "fits" if fits(step, plan.target) else "does NOT fit"
    told = [
        f"{name}: {verdict}: needs {size(memory.needed)} a device of {limit}",
        f"  memory      arguments {size(memory.arguments)}, temporary {size(memory.temporary)}, donated "
        f"{size(memory.donated)} in {memory.donated_buffers} buffers; {size(memory.peak)} at the same time",
    ]
    if name == "sampling":
        told.append(f"  {STORIES} stories on one device; one token of each moves {size(step.hbm_bytes)}")
        return told
    told += [
        f"  compute     {step.compute_seconds * 1e3:9.3f} ms  {step.model_flops / 1e12:.4g} TFLOP of the "
        f"model; {step.compiled_flops / 1e12:.4g} in products, beside {step.kernels} kernels",
        f"  HBM         {step.hbm_seconds * 1e3:9.3f} ms  {size(step.hbm_bytes)}: "
        f"{step.hbm_seconds / step.compute_seconds:.3g} x the compute time",
        f"  links       {step.link_seconds * 1e3:9.3f} ms  "
        f"{size(sum(c.sent_bytes for c in step.collectives))} sent by each device",
    ]
    told += [
        f"    {c.kind:18} over {' x '.join(c.axes):18} {c.count:6.0f} times, {size(c.sent_bytes)}"
        for c in step.collectives
    ]
    told.append(f"  bound by {step.bound}; {step.seconds * 1e3:.3f} ms if all overlaps, "
                f"{step.seconds_apart * 1e3:.3f} ms if nothing does")  # fmt: skip
    return told


def _compared(plan: Plan) -> str:
    train, plain = plan.steps["train"], plan.steps[PLAIN]
    return (
        f"training needs {_needed(train)} a device; written plainly (whole logits and scores, nothing "
        f"computed again) it would need {_needed(plain)}"
    )


def _needed(step: Cost | TooLarge) -> str:
    if isinstance(step, Cost):
        return size(step.memory.needed)
    return f"more than {size(step.needed_bytes)}" if step.needed_bytes else "more"


def _verdict(plan: Plan) -> str:
    train, speed, share = plan.train, plan.tokens_per_second, plan.utilisation
    if not plan.fits or train is None or speed is None or share is None:
        return "does NOT fit"
    lowest = train.seconds / train.seconds_apart
    return (
        f"fits; an estimated {speed:,.0f} tokens/s at most (MFU {share:.1%}), "
        f"{speed * lowest:,.0f} (MFU {share * lowest:.1%}) if nothing overlaps"
    )


def to_json_dict(plan: Plan) -> dict[str, Any]:
    """Returns all that a plan knows, ready for JSON; sizes in bytes, times in seconds, each by device."""
    return {
        "topology": plan.target.topology,
        "chips": plan.target.num_chips,
        "devices": len(plan.target.devices),
        "compiled_for": f"cpu ({plan.target.instead})" if plan.target.instead else "tpu",
        "device": dataclasses.asdict(plan.target.chip),
        "mesh": plan.mesh,
        "attention": plan.attention,
        "parameter_bytes": plan.parameter_bytes,
        "optimizer_bytes": plan.optimizer_bytes,
        "fits": plan.fits,
        "tokens_per_step": plan.tokens,
        "estimated_tokens_per_second": plan.tokens_per_second,
        "estimated_mfu": plan.utilisation,
        "steps": {name: _step_dict(plan, step) for name, step in plan.steps.items()},
        "config": to_dict(plan.config),
    }


def _step_dict(plan: Plan, step: Cost | TooLarge) -> dict[str, Any]:
    derived: dict[str, Any] = {}
    if isinstance(step, Cost):
        derived = {"seconds": step.seconds, "bound": step.bound, "needed_bytes": step.memory.needed}
    return dataclasses.asdict(step) | derived | {"fits": fits(step, plan.target)}
