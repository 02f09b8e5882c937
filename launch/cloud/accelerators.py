"""The accelerator types of the Cloud TPU API: how they are named, their runtime, and their hosts."""

import dataclasses
import math

from tinyjax.errors import UserError, nearest


@dataclasses.dataclass(frozen=True)
class Generation:
    """What the types of one generation have in common."""

    prefix: str  # of its types: v5litepod-16
    runtime: str  # the software version that Google names for JAX
    unit: int  # what the number in a type counts, for each chip: 2 TensorCores, or 1 chip
    sides: int  # of its topologies
    one_host: int  # the most chips that a single host has
    per_host: int  # chips of each host where there are several


# Runtimes: docs.cloud.google.com/tpu/docs/runtimes. Types and hosts: .../tpu/docs/v4, v5e, v5p and v6e; a v5e
# or v6e slice of 8 chips is one VM (ct5lp-hightpu-8t, ct6e-standard-8t), larger ones have VMs of 4 chips.
GENERATIONS = {
    "v4": Generation("v4", "tpu-ubuntu2204-base", 2, 3, 4, 4),
    "v5e": Generation("v5litepod", "v2-alpha-tpuv5-lite", 1, 2, 8, 4),
    "v5p": Generation("v5p", "v2-alpha-tpuv5", 2, 3, 4, 4),
    "v6e": Generation("v6e", "v2-alpha-tpuv6e", 1, 2, 8, 4),
}


@dataclasses.dataclass(frozen=True)
class Accelerator:
    """A type of slice."""

    type: str  # v5litepod-16
    runtime: str
    num_hosts: int


def parse(text: str) -> Accelerator:
    """Reads a type (v5litepod-16, v5e-16) or a topology as `plan` names it (v5e:4x4).

    Raises:
      UserError: it is neither, or the Cloud TPU API doesn't offer it.
    """
    separator = ":" if ":" in text else "-"
    name, _, size = text.partition(separator)
    name = {"v5litepod": "v5e"}.get(name, name)
    if name in ("tpu7x", "v7x"):
        raise UserError(_TPU7X)
    if name not in GENERATIONS:
        raise UserError(
            f"--type={text}: there is no '{name}'{nearest(name, GENERATIONS)}; give a type such as v4-8, "
            "v5litepod-4, v5p-8 or v6e-8, or a topology such as v5e:2x2"
        )
    generation = GENERATIONS[name]
    chips = _chips_of(text, generation, size, separator)
    hosts = 1 if chips <= generation.one_host else chips // generation.per_host
    return Accelerator(f"{generation.prefix}-{chips * generation.unit}", generation.runtime, hosts)


# docs.cloud.google.com/tpu/docs/runtimes: the Cloud TPU API supports neither TPU7x nor what comes later.
_TPU7X = (
    "the Cloud TPU API doesn't offer tpu7x; make its VMs in Compute Engine (or take GKE), then name them "
    "in the order of their workers: --existing --vms=VM0,VM1,..."
)


def _chips_of(text: str, generation: Generation, size: str, separator: str) -> int:
    if separator == ":":
        sides = [int(side) for side in size.split("x") if side.isdecimal()]
        if len(sides) != generation.sides or size.count("x") != generation.sides - 1:
            raise UserError(
                f"--type={text}: a topology has {generation.sides} sides, as in {_example(generation)}"
            )
        chips = math.prod(sides)
    else:
        chips, rest = divmod(int(size), generation.unit) if size.isdecimal() else (0, 0)
        if rest:
            raise UserError(
                f"--type={text}: the number counts TensorCores, of which a chip has {generation.unit}"
            )
    many = chips > generation.one_host
    if chips < 1 or (many and chips % generation.per_host):
        raise UserError(
            f"--type={text}: '{size}' is no size of it; as in {generation.prefix}-{4 * generation.unit} or "
            f"{generation.prefix}-{16 * generation.unit}"
        )
    return chips


def _example(generation: Generation) -> str:
    return {2: "v5e:2x2", 3: "v5p:2x2x1"}[generation.sides]
