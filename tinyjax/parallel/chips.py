"""What chips can do at best, as their makers publish it: what a step's speed is measured against.

A JAX device is a chip on v4 and v5p (whose two cores work as one), v5e and v6e, but half a chip on v2, v3 and
tpu7x. Numbers here are for one chip; `devices` tells how many devices it shows up as.

Sources, without sparsity: TPUs, docs.cloud.google.com/tpu/docs/ and there v2, v3, v4, v5e, v5p, v6e, tpu7x;
NVIDIA's data sheet of each card. HBM of TPUs is in GiB, of NVIDIA's cards in GB.
"""

import dataclasses

import jax

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
    """One chip's peaks; rates are per second."""

    name: str
    flops: float  # in bfloat16, products and sums counted apart
    hbm_bytes: float
    hbm_rate: float  # bytes
    link_rate: float  # bytes sent to other chips over all links together, one way
    devices: int = 1  # JAX devices that it shows up as

    @property
    def device(self) -> "Chip":
        """The share of one JAX device."""
        return self.split(self.devices)

    def split(self, parts: int) -> "Chip":
        """Returns one of `parts` equal shares of the chip, each of which is one device."""
        return Chip(
            self.name,
            self.flops / parts,
            self.hbm_bytes / parts,
            self.hbm_rate / parts,
            self.link_rate / parts,
        )


V2 = Chip("v2", 46e12, 16 * GIB, 700e9, 248e9 / 2, devices=2)  # 496 Gbit/s each of 4 links, both ways
V3 = Chip("v3", 123e12, 32 * GIB, 900e9, 328e9 / 2, devices=2)  # 656 Gbit/s each of 4 links, both ways
V4 = Chip("v4", 275e12, 32 * GIB, 1200e9, 300e9)  # 6 links of 50 GB/s
V5E = Chip("v5e", 197e12, 16 * GIB, 819e9, 400e9 / 2)  # 400 GB/s both ways
V5P = Chip("v5p", 459e12, 95 * GIB, 2765e9, 1200e9 / 2)  # 1,200 GB/s both ways
V6E = Chip("v6e", 918e12, 32 * GIB, 1638e9, 800e9 / 2)  # 800 GB/s both ways
TPU7X = Chip("tpu7x", 2307e12, 192 * GIB, 7380e9, 1200e9 / 2, devices=2)  # 1,200 GB/s both ways

# By the beginning of `jax.Device.device_kind`; the longest that fits counts.
CHIPS = {
    "TPU v2": V2,
    "TPU v3": V3,
    "TPU v4": V4,
    "TPU v5 lite": V5E,
    "TPU v5e": V5E,
    "TPU v5": V5P,
    "TPU v5p": V5P,
    "TPU v6 lite": V6E,
    "TPU v6e": V6E,
    "TPU7x": TPU7X,
    # A100 80GB data sheet, 2021: NVLink 600 GB/s both ways. The 40 GB card: A100 data sheet, 2020.
    "NVIDIA A100": Chip("A100 40GB", 312e12, 40e9, 1555e9, 300e9),
    "NVIDIA A100-SXM4-80GB": Chip("A100 80GB SXM", 312e12, 80e9, 2039e9, 300e9),
    "NVIDIA A100 80GB PCIe": Chip("A100 80GB PCIe", 312e12, 80e9, 1935e9, 300e9),
    # H100 data sheet, 2023: NVLink 900 GB/s both ways, on PCIe 600.
    "NVIDIA H100": Chip("H100 SXM", 989e12, 80e9, 3350e9, 450e9),
    "NVIDIA H100 PCIe": Chip("H100 PCIe", 756e12, 80e9, 2000e9, 300e9),
    "NVIDIA H200": Chip("H200", 989e12, 141e9, 4800e9, 450e9),  # H200 data sheet, 2024
    "NVIDIA L4": Chip("L4", 121e12, 24e9, 300e9, 32e9),  # L4 data sheet, 2023: PCIe 64 GB/s both ways
    "NVIDIA L40S": Chip("L40S", 362e12, 48e9, 864e9, 32e9),  # L40S data sheet, 2023
    # T4 data sheet, 2019. It has no bfloat16 units; float16's peak stands here. PCIe 32 GB/s both ways.
    "Tesla T4": Chip("T4", 65e12, 16e9, 320e9, 16e9),
}


def find(device_kind: str) -> Chip | None:
    """Returns the chip of a `jax.Device.device_kind`, None where it isn't in the table; CPUs aren't."""
    fitting = [
        kind for kind in CHIPS if device_kind == kind or device_kind.startswith((f"{kind} ", f"{kind}-"))
    ]
    return CHIPS[max(fitting, key=len)] if fitting else None


def platform() -> str:
    """Returns what the present mesh is made of, "cpu", "gpu" or "tpu"; without one, what JAX runs on.

    Code that goes by it can be compiled for a chip on a machine that has none.
    """
    device = jax.sharding.get_abstract_mesh().abstract_device
    return jax.default_backend() if device is None else device.platform
