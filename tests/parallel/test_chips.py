"""The table of chips finds what JAX calls them, and holds what their makers publish."""

import pytest

from tinyjax.parallel.chips import CHIPS, find


@pytest.mark.parametrize(
    ("device_kind", "name", "teraflops", "hbm_gb_per_second"),
    [
        ("TPU v4", "v4", 275, 1200),
        ("TPU v5 lite", "v5e", 197, 819),
        ("TPU v5", "v5p", 459, 2765),
        ("TPU v6 lite", "v6e", 918, 1638),
        ("TPU7x", "tpu7x", 2307, 7380),
        ("NVIDIA A100-SXM4-40GB", "A100 40GB", 312, 1555),
        ("NVIDIA A100-SXM4-80GB", "A100 80GB SXM", 312, 2039),
        ("NVIDIA H100 80GB HBM3", "H100 SXM", 989, 3350),
        ("NVIDIA H100 PCIe", "H100 PCIe", 756, 2000),
        ("NVIDIA L4", "L4", 121, 300),
        ("Tesla T4", "T4", 65, 320),
    ],
)
def test_a_chip_is_found_by_what_jax_calls_its_devices(
    device_kind: str, name: str, teraflops: float, hbm_gb_per_second: float
):
    chip = find(device_kind)
    assert chip is not None
    assert (chip.name, chip.flops, chip.hbm_rate) == (name, teraflops * 1e12, hbm_gb_per_second * 1e9)


@pytest.mark.parametrize("device_kind", ["cpu", "", "NVIDIA L40", "TPU v99"])
def test_an_unknown_chip_is_none(device_kind: str):
    assert find(device_kind) is None


def test_a_device_of_a_chip_with_two_has_half_of_it():
    chip = CHIPS["TPU7x"]
    assert (chip.devices, chip.device.flops, chip.device.hbm_bytes) == (2, 2307e12 / 2, 96 * 2**30)
    assert chip.device.device == chip.device
    assert CHIPS["TPU v5 lite"].device == CHIPS["TPU v5 lite"]


def test_rates_are_in_bytes_and_operations_per_second():
    """A number given in Gbit/s, or in TB/s, would stand out."""
    for chip in CHIPS.values():
        assert 50 < chip.flops / chip.hbm_rate < 1000, chip
        assert 2 < chip.hbm_rate / chip.link_rate < 30, chip
