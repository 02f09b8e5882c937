"""What one run of a compiled step costs each device, and how long that takes at best."""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from tinyjax.planning.collectives import Collective, collectives
from tinyjax.planning.hlo import Instruction, Program, parse, runs
from tinyjax.planning.target import Target
from tinyjax.planning.traffic import hbm_bytes


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes on each device while a step runs."""

    peak: float  # of what is needed at the same time, the chip's own memory included
    arguments: float  # parameters, optimizer, batch
    results: float
    temporary: float  # activations and all else that is made on the way, and gaps between them
    donated: float  # of the arguments, whose memory the results take over
    donated_buffers: int

    @property
    def needed(self) -> float:
        """The HBM that is set aside for the step."""
        return self.arguments + self.results - self.donated + self.temporary


@dataclasses.dataclass(frozen=True)
class Cost:
    """One run of a step, on each device."""

    memory: Memory
    model_flops: float  # that the model asks for
    compiled_flops: float  # products of matrices in the program, what is computed again included; no kernels
    hbm_bytes: float
    collectives: list[Collective]
    kernels: int  # custom calls of ours: attention
    compute_seconds: float
    hbm_seconds: float
    link_seconds: float

    @property
    def seconds(self) -> float:
        """The longest of the three: what it takes if all else happens meanwhile."""
        return max(self.compute_seconds, self.hbm_seconds, self.link_seconds)

    @property
    def seconds_apart(self) -> float:
        """Their sum: what it takes if nothing happens meanwhile."""
        return self.compute_seconds + self.hbm_seconds + self.link_seconds

    @property
    def bound(self) -> str:
        """Which of the three is the longest."""
        times = {"compute": self.compute_seconds, "HBM": self.hbm_seconds, "links": self.link_seconds}
        return max(times, key=lambda name: times[name])


def cost(compiled: Any, target: Target, mesh: Mapping[str, int], model_flops: float) -> Cost:
    """Returns what a `jax.stages.Compiled` costs; `model_flops` are those of one device."""
    program, chip = parse(compiled.as_text()), target.chip
    memory, moved = compiled.memory_analysis(), hbm_bytes(program)
    exchanged, computed = collectives(program, mesh), product_flops(program)
    return Cost(
        memory=Memory(
            peak=float(memory.peak_memory_in_bytes),
            arguments=float(memory.argument_size_in_bytes),
            results=float(memory.output_size_in_bytes),
            temporary=float(memory.temp_size_in_bytes),
            donated=float(memory.alias_size_in_bytes),
            donated_buffers=program.aliases,
        ),
        model_flops=model_flops,
        compiled_flops=computed,
        hbm_bytes=moved,
        collectives=exchanged,
        kernels=_kernels(program),
        compute_seconds=max(model_flops, computed) / chip.flops,
        hbm_seconds=moved / chip.hbm_rate,
        link_seconds=sum(c.sent_bytes for c in exchanged) / (chip.link_rate * (target.link_share or 1)),
    )


def product_flops(program: Program) -> float:
    """Returns the FLOPs of a program's products of matrices, which are convolutions on TPUs, in one run."""
    total = 0.0
    for name, times in runs(program).items():
        computation = program.computations[name]
        for instruction in computation.values():
            if instruction.opcode in ("dot", "convolution"):
                right = computation[instruction.operands[1]]
                left = computation[instruction.operands[0]]
                total += times * 2 * instruction.arrays[0].elements * _summed(instruction, left, right)
    return total


def _summed(product: Instruction, left: Instruction, right: Instruction) -> float:
    """Returns how many products each element of a product of matrices is the sum of."""
    if product.opcode == "dot":
        dims = re.findall(r"\d+", product.attribute("lhs_contracting_dims"))
        return float(math.prod(left.arrays[0].shape[int(d)] for d in dims))
    left_labels, _, rest = product.attribute("dim_labels").partition("_")
    right_labels, result_labels = rest.split("->")
    sizes = [array.shape for array in (left.arrays[0], right.arrays[0], product.arrays[0])]
    found = float(sizes[1][right_labels.index("i")])
    for axis in range(len(result_labels) - 2):
        lengths = [
            size[labels.index(str(axis))]
            for labels, size in zip((left_labels, right_labels, result_labels), sizes, strict=True)
        ]
        found *= _overlap(product, axis, *lengths)
    return found


def _overlap(product: Instruction, axis: int, length: int, window: int, results: int) -> float:
    """Returns how many places of a window meet the array, and not what pads it, on average over the results.

    Products with batch dimensions are written so: an array spread out, a window that is moved in strides.
    """

    def setting(name: str, default: int) -> int:
        values = re.findall(r"-?\d+(?:_-?\d+)?", product.attribute(name))
        return int(values[axis].split("_")[0]) if values else default

    spread = setting("lhs_dilate", 1)
    starts = np.arange(results) * setting("stride", 1) - setting("pad", 0)
    places = starts[:, None] + np.arange(window) * setting("rhs_dilate", 1)
    return float(np.sum((places >= 0) & (places <= (length - 1) * spread) & (places % spread == 0)) / results)


def _kernels(program: Program) -> int:
    return sum(
        i.attribute("custom_call_target") == '"tpu_custom_call"'
        for computation in program.computations.values()
        for i in computation.values()
        if i.opcode == "custom-call"
    )
