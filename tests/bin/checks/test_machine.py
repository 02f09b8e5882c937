"""Room, memory, descriptors and the GPU's driver."""

import os
import pathlib
import resource

import pytest
from etils import epath

from tinyjax.bin.checks import machine


@pytest.mark.parametrize(("least_gb", "level"), [(1e-9, "ok"), (1e12, "problem")])
def test_a_disk_with_too_little_room_is_a_problem(least_gb: float, level: str, tmp_path: pathlib.Path):
    folder = epath.Path(tmp_path) / "not" / "there" / "yet"
    found = machine.disk([("run folder", folder)], least_gb)[0]
    assert (found.name, found.level) == ("run folder", level)
    assert f"GB free in '{folder}'" in found.text


def test_a_disk_that_is_nearly_full_is_a_warning(tmp_path: pathlib.Path):
    free = os.statvfs(tmp_path)
    twice = 2e-9 * free.f_bavail * free.f_frsize
    assert machine.disk([("home", epath.Path(tmp_path))], twice)[0].level == "warning"


def test_memory_is_that_of_the_system(monkeypatch):
    (found,) = machine.memory()
    free, total = (float(found.text.split()[i]) for i in (0, 2))
    assert 0 < free <= total
    monkeypatch.setattr(machine, "_MEMORY_GB", 1e9)
    assert machine.memory()[0].level == "warning"


def test_few_descriptors_are_a_warning():
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, limits[1]))
        (found,) = machine.descriptors()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert str(found) == "warning  files: a process may open 512 of them; raise the limit: ulimit -n 65536"


@pytest.fixture
def nvidia_smi(tmp_path: pathlib.Path, monkeypatch) -> pathlib.Path:
    """A program on PATH that stands for the driver's."""
    program = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    program.write_text("#!/bin/sh\necho 'NVIDIA L4, 580.1'\n")
    program.chmod(0o755)
    return program


def test_a_driver_without_jax_s_plugin_is_a_problem(nvidia_smi: pathlib.Path, monkeypatch):
    monkeypatch.setattr(machine, "_PLUGINS", ("not-there",))
    assert str(machine.gpu()[0]) == (
        "problem  gpu: NVIDIA L4, driver 580.1; JAX has no CUDA plugin; pip install 'tinyjax[cuda]'"
    )


def test_driver_and_plugin_are_told(nvidia_smi: pathlib.Path, monkeypatch):
    monkeypatch.setattr(machine, "_PLUGINS", ("iniconfig",))  # some package
    assert str(machine.gpu()[0]).startswith("ok       gpu: NVIDIA L4, driver 580.1; iniconfig ")


def test_a_driver_that_fails_is_a_problem(nvidia_smi: pathlib.Path):
    nvidia_smi.write_text("#!/bin/sh\necho 'driver/library version mismatch' >&2\nexit 18\n")
    assert "nvidia-smi fails (driver/library version mismatch)" in str(machine.gpu()[0])


def test_a_machine_without_gpus_is_fine(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert machine.gpu()[0].level == "ok"
