"""The chips that a plan is for: libtpu's description of a topology, or CPU devices in their place."""

import dataclasses
import importlib.util
import math
import os
import re
from collections.abc import Sequence

import jax

from tinyjax.errors import UserError
from tinyjax.parallel import chips
from tinyjax.parallel.chips import Chip

# Generation -> (what JAX calls its devices, dimensions of its topologies).
GENERATIONS = {
    "v4": ("TPU v4", 3),
    "v5e": ("TPU v5 lite", 2),
    "v5p": ("TPU v5", 3),
    "v6e": ("TPU v6 lite", 2),
    "tpu7x": ("TPU7x", 3),
}
# libtpu asks the cloud's metadata server, writes logs and locks others out unless told, before it is loaded.
LIBTPU = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",  # whatever the topology
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "TPU_LOG_DIR": "disabled",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


@dataclasses.dataclass(frozen=True)
class Target:
    """Devices to compile for."""

    topology: str  # v5e:2x2
    devices: Sequence[jax.Device]
    chip: Chip  # the share of one device
    num_chips: int
    link_share: float  # of a chip's links, those that lead to another chip of the topology
    instead: str  # why CPU devices stand in, "" where they don't


def find_target(topology: str) -> Target:
    """Returns the devices of a topology such as v5e:2x2 or v5p:2x2x1; to be called before JAX starts.

    Raises:
      UserError: there is no such topology.
    """
    generation, sides = parse_topology(topology)
    jax.config.update("jax_platforms", "cpu")  # a plan needs no chip, and leaves those that are here alone
    kind, num_chips = GENERATIONS[generation][0], math.prod(sides)
    chip = chips.find(kind)
    assert chip is not None
    devices, instead = _describe(topology)
    if instead:
        jax.config.update("jax_num_cpu_devices", num_chips * chip.devices)
        devices = jax.devices("cpu")
    parts = len(devices) // num_chips
    links = sum(min(side - 1, 2) for side in sides) / (2 * len(sides))
    return Target(topology, devices, chip.split(parts), num_chips, links, instead)


def parse_topology(text: str) -> tuple[str, tuple[int, ...]]:
    """Splits v5e:2x2 into generation and sides; raises UserError where it isn't one."""
    generation, _, layout = text.partition(":")
    known = GENERATIONS.get(generation)
    if known is None:
        raise UserError(
            f"--topology={text}: there is no '{generation}'; give one of {', '.join(GENERATIONS)}, then the "
            "chips along each side, as in v5e:2x2 or v5p:2x2x1"
        )
    sides = (
        tuple(int(side) for side in layout.split("x"))
        if re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", layout)
        else ()
    )
    if len(sides) != known[1]:
        example = "x".join("221"[: known[1]])
        raise UserError(
            f"--topology={text}: '{layout}' isn't the chips along the {known[1]} sides of a {generation}; "
            f"write it as in {generation}:{example}"
        )
    return generation, sides


def _describe(topology: str) -> tuple[Sequence[jax.Device], str]:
    """Returns a topology's devices, or none and why libtpu can't be had."""
    if importlib.util.find_spec("libtpu") is None:
        return (), "libtpu isn't installed: pip install 'tinyjax[tpu]'"
    for name, value in LIBTPU.items():
        os.environ.setdefault(name, value)
    from jax.experimental import topologies

    # Unless told, a v4 is described as two devices of one core each, which no mesh may be made of.
    options = {"chip_config_name": "megacore"} if topology.startswith("v4:") else {}
    try:
        return topologies.get_topology_desc(platform="tpu", topology_name=topology, **options).devices, ""
    except jax.errors.JaxRuntimeError as error:
        message = str(error).splitlines()[0]
        if "INVALID_ARGUMENT" in message:
            raise UserError(f"--topology={topology}: {message.removeprefix('INVALID_ARGUMENT: ')}") from None
        return (), f"libtpu doesn't start ({message})"
