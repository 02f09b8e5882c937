"""What JAX sees is compared with what the machine has; nothing of JAX can hang or crash the doctor."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

from tests.bin.checks.conftest import Metadata
from tinyjax.bin.checks import chips, devices, processes
from tinyjax.bin.checks.chips import Machine, Seen, judge
from tinyjax.bin.checks.processes import Process

TPU = Machine(tpu="/dev/accel0")
CPU = Seen("cpu", "cpu", 1, 1, 1)
HELD = "Unable to initialize backend 'tpu': ABORTED: The TPU is already in use by process with pid 4711."


def printing(text: str) -> list[str]:
    return [sys.executable, "-c", f"print({text!r})"]


@pytest.fixture
def unset(monkeypatch) -> None:
    """Nothing keeps JAX from the chips."""
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)


@pytest.mark.slow
def test_jax_is_started_in_a_process_of_its_own_and_computes_rightly(monkeypatch):
    monkeypatch.setattr(chips, "look", Machine)  # whatever this one has
    found = chips.chips(120)
    assert [str(finding) for finding in found] == [
        "ok       chips: cpu, cpu: 8 here, 8 in all, 1 process",
        "ok       matmul: right on 8 devices",
    ]


def test_a_device_that_computes_wrongly_is_found(monkeypatch):
    import jax
    import jax.numpy as jnp

    (device, *_) = jax.local_devices()
    assert devices.computes(device)
    right = jnp.dot
    monkeypatch.setattr(jnp, "dot", lambda a, b: right(a, b).at[3, 4].add(1))
    assert not devices.computes(device)


def test_a_wrong_product_is_a_problem_that_names_the_device():
    found = judge(Seen("tpu", "TPU v4", 4, 8, 2, wrong=["TPU_3"]), TPU)
    assert [str(finding) for finding in found] == [
        "ok       chips: tpu, TPU v4: 4 here, 8 in all, 2 processes",
        "problem  matmul: wrong on TPU_3; don't train there: ask for another machine",
    ]


def test_jax_that_does_not_start_in_time_is_ended():
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    with pytest.raises(subprocess.TimeoutExpired) as expired:
        chips.start([sys.executable, "-c", code], 0.5)
    with pytest.raises(ProcessLookupError):
        os.kill(int(expired.value.stdout or 0), 0)
    (found,) = chips.chips(0.2, [sys.executable, "-c", "import time; time.sleep(600)"])
    assert str(found).startswith("problem  chips: JAX doesn't start within 0.2 s; ")


@pytest.mark.usefixtures("unset")
def test_jax_that_crashes_is_a_problem_with_its_last_line():
    crash = [sys.executable, "-c", "raise RuntimeError('TPU initialization failed')"]
    (found,) = judge(chips.start(crash, 30), Machine())
    assert found.level == "problem"
    assert found.text == "JAX doesn't start (RuntimeError: TPU initialization failed)"
    killed = [sys.executable, "-c", f"import os; os.kill(os.getpid(), {int(signal.SIGSEGV)})"]
    assert judge(chips.start(killed, 30), Machine())[0].text == "JAX doesn't start (exit code -11)"


@pytest.mark.usefixtures("unset")
def test_on_a_tpu_vm_the_cpu_alone_is_a_problem():
    (found,) = judge(CPU, TPU)
    assert found.level == "problem"
    assert found.text == "JAX sees only the CPU, and there is a TPU (/dev/accel0)"


@pytest.mark.usefixtures("unset")
def test_who_holds_the_chips_is_named():
    (found,) = judge(CPU, Machine("/dev/accel0", holders=[Process(17, "python train.py")]))
    assert found.text.endswith("; process 17, python train.py, holds the chips")
    assert found.mend == "end it: kill 17"


@pytest.mark.usefixtures("unset")
def test_who_holds_the_chips_is_taken_from_libtpu_where_the_system_does_not_say():
    (found,) = judge(Seen("cpu", "cpu", 1, 1, 1, said=HELD), TPU)
    assert found.mend == "end it: kill 4711"


@pytest.mark.usefixtures("unset")
def test_a_lock_file_that_was_left_is_named(monkeypatch):
    monkeypatch.setattr(chips.software, "version", lambda name: "1")
    (found,) = judge(CPU, Machine("/dev/accel0", lock_file="/tmp/libtpu_lockfile"))
    assert found.mend == "remove /tmp/libtpu_lockfile, which a process that died may have left"


@pytest.mark.usefixtures("unset")
def test_a_missing_libtpu_is_named(monkeypatch):
    monkeypatch.setattr(chips.software, "version", lambda name: "")
    assert judge(CPU, TPU)[0].mend == "pip install 'tinyjax[tpu]'"


def test_a_variable_that_hides_the_chips_is_named(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert judge(CPU, TPU)[0].mend == "unset JAX_PLATFORMS, which is 'cpu'"


@pytest.mark.usefixtures("unset")
def test_a_gpu_that_jax_does_not_see_is_a_problem():
    (found,) = judge(CPU, Machine(gpu=True))
    assert found.text == "JAX sees only the CPU, and there is a GPU"
    assert "tinyjax[cuda]" in found.mend


def test_the_metadata_server_tells_of_a_tpu(metadata_server: Metadata, monkeypatch):
    monkeypatch.setattr(chips, "_DEVICES", ())
    assert chips.look().tpu == ""
    metadata_server.accelerator = "v5litepod-16"
    assert chips.look().tpu == "the metadata server says v5litepod-16"


def test_chips_and_their_holder_are_found_where_they_are(tmp_path: pathlib.Path, monkeypatch):
    """A file stands for the device, and a process has it open."""
    (tmp_path / "accel0").touch()
    monkeypatch.setattr(chips, "_DEVICES", (f"{tmp_path}/accel*",))
    monkeypatch.setattr(chips, "_HELD", rf"{tmp_path}/accel\d+")
    monkeypatch.setattr(chips, "LOCK_FILE", str(tmp_path / "lock"))
    alone = chips.look()
    assert (alone.tpu, list(alone.holders), alone.lock_file) == (f"{tmp_path}/accel0", [], "")
    (tmp_path / "lock").touch()
    code = f"file = open({str(tmp_path / 'accel0')!r}); print('open', flush=True); input()"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        process.stdout.readline()
        found = chips.look()
        process.communicate("\n")
    assert [holder.pid for holder in found.holders] == [process.pid]
    assert found.holders[0].command.startswith(sys.executable)
    assert found.lock_file == str(tmp_path / "lock")


def test_what_this_process_has_open_is_no_hindrance(tmp_path: pathlib.Path):
    with (tmp_path / "accel0").open("w"):
        assert not processes.holding(rf"{tmp_path}/accel0")
