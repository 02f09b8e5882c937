"""What the notebook installs on a runtime: what is missing, and nothing that fits."""

import os
import pathlib
import shutil
import subprocess
import sys
import tomllib
import zipfile

import pytest

from launch.notebook import packages, runtime
from launch.notebook.runtime import Runtime
from tests.binaries import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "requirements" / "py3.12-dev.lock").read_text()


def all_of(*names: str) -> dict[str, str]:
    """The locked version of every package, but for those of an accelerator that aren't named."""
    pins = dict(line.split(" ;")[0].split("==") for line in packages._pins(LOCK))
    return {name: version for name, version in pins.items() if name != "libtpu"} | dict.fromkeys(names, "1")


def order(accelerator: str, have: dict[str, str], driver: int = 0) -> packages.Order | None:
    return packages.order(PROJECT, Runtime("colab", accelerator), have, LOCK, driver)  # ty: ignore[invalid-argument-type]


def jax_of(wanted: packages.Order | None) -> list[str]:
    assert wanted is not None
    return [line.split(">=")[0] for line in wanted.requirements if line.startswith("jax")]


@pytest.mark.parametrize(
    ("accelerator", "plugin"), [("cpu", ()), ("gpu", ("jax-cuda12-plugin",)), ("tpu", ("libtpu",))]
)
def test_a_runtime_that_has_all_is_left_alone(accelerator: str, plugin: tuple[str, ...]):
    assert order(accelerator, all_of(*plugin)) is None


@pytest.mark.parametrize(
    ("accelerator", "driver", "extra"),
    [("tpu", 0, "jax[tpu]"), ("gpu", 580, "jax[cuda13]"), ("gpu", 550, "jax[cuda12]")],
)
def test_jax_comes_for_the_accelerator_that_is_there(accelerator: str, driver: int, extra: str):
    assert jax_of(order(accelerator, all_of(), driver)) == ["jax", extra]


def test_an_old_jax_is_replaced_together_with_its_part_for_the_accelerator():
    wanted = order("tpu", all_of("libtpu") | {"jax": "0.7.2"})
    assert jax_of(wanted) == ["jax", "jax[tpu]"]
    assert wanted is not None
    assert any(pin.startswith("jax==") for pin in wanted.constraints)


def test_a_jax_that_fits_its_accelerator_stays_though_other_packages_are_missing():
    have = all_of("libtpu")
    del have["grain"]
    assert jax_of(order("tpu", have)) == ["jax"]


def test_what_is_new_or_too_old_gets_the_locked_version_and_what_fits_keeps_its_own():
    have = all_of() | {"numpy": "1.26.4", "requests": "2.32.3"}
    del have["grain"]
    wanted = order("cpu", have)
    assert wanted is not None
    pinned = {pin.split("==")[0] for pin in wanted.constraints}
    assert {"numpy", "grain"} <= pinned
    assert not {"requests", "flax"} & pinned
    assert not any("--hash" in pin or "\\" in pin for pin in wanted.constraints)


def test_only_what_was_replaced_while_in_use_asks_for_a_restart():
    changed = packages.changed(
        {"numpy": "1", "rich": "1", "six": "1"}, {"numpy": "2", "rich": "2", "six": "1"}
    )
    owners = {"numpy": ["NumPy"], "rich": ["rich"], "six": ["six"]}
    assert packages.loaded(changed, ["numpy", "six", "sys"], owners) == ["numpy"]


def make_wheel(folder: pathlib.Path, version: str) -> None:
    info = f"tinyjax_probe-{version}.dist-info"
    with zipfile.ZipFile(folder / f"tinyjax_probe-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tinyjax_probe.py", f"version = {version!r}\n")
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tinyjax-probe\nVersion: {version}\n"
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


def make_checkout(folder: pathlib.Path) -> pathlib.Path:
    """A project that needs one package, of which there are two versions, the older one locked."""
    checkout, wheels = folder / "checkout", folder / "wheels"
    (checkout / "requirements").mkdir(parents=True)
    wheels.mkdir()
    for version in ("1.0", "2.0"):
        make_wheel(wheels, version)
    shutil.copytree(ROOT / "launch" / "notebook", checkout / "launch" / "notebook")
    (checkout / "pyproject.toml").write_text(
        '[project]\nrequires-python = ">=3.11"\ndependencies = ["tinyjax-probe>=1"]\n'
        "[project.optional-dependencies]\nhf = []\ngguf = []\n"
    )
    lock = checkout / "requirements" / f"py{sys.version_info.major}.{sys.version_info.minor}-dev.lock"
    lock.write_text("tinyjax-probe==1.0 \\\n    --hash=sha256:00\n")
    return checkout


def install(checkout: pathlib.Path, site: pathlib.Path, wheels: pathlib.Path) -> str:
    """Runs `install` by a process whose pip knows these wheels alone, and puts them into `site`."""
    code = "from launch.notebook import packages, runtime; import os, pathlib; " + (
        "print(packages.install(pathlib.Path.cwd(), runtime.find()), os.environ['PYTHONPATH'])"
    )
    env = os.environ | {
        "PYTHONPATH": str(site),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
        "PIP_TARGET": str(site),
        "PIP_CONFIG_FILE": os.devnull,
    }
    done = subprocess.run([sys.executable, "-c", code], cwd=checkout, env=env, capture_output=True, text=True)
    return done.stdout + done.stderr


@pytest.mark.slow
def test_pip_adds_what_is_missing_in_the_locked_version_and_is_not_called_again(tmp_path: pathlib.Path):
    checkout, site = make_checkout(tmp_path), tmp_path / "site"
    assert "1 packages were added, 0 replaced" in install(checkout, site, tmp_path / "wheels")
    assert (site / "tinyjax_probe.py").read_text() == "version = '1.0'\n"
    shutil.rmtree(tmp_path / "wheels")
    again = install(checkout, site, tmp_path / "wheels")
    assert "All packages are here already." in again
    assert str(checkout) in again  # on PYTHONPATH, for commands


def test_where_pip_fails_its_words_are_shown(tmp_path: pathlib.Path):
    checkout = make_checkout(tmp_path)
    told = install(checkout, tmp_path / "site", tmp_path)
    assert "RuntimeError: pip failed (on Kaggle: is Internet on, in the settings?)" in told
    assert "No matching distribution found for tinyjax-probe" in told


@pytest.mark.slow
def test_where_the_locked_versions_do_not_go_together_with_the_runtime_the_bounds_decide(
    tmp_path: pathlib.Path,
):
    checkout, site = make_checkout(tmp_path), tmp_path / "site"
    (tmp_path / "wheels" / "tinyjax_probe-1.0-py3-none-any.whl").unlink()
    assert "1 packages were added" in install(checkout, site, tmp_path / "wheels")
    assert (site / "tinyjax_probe.py").read_text() == "version = '2.0'\n"


def test_a_python_without_a_lock_is_refused(tmp_path: pathlib.Path):
    checkout = make_checkout(tmp_path)
    next((checkout / "requirements").iterdir()).unlink()
    assert "tinyjax needs Python >=3.11, and this runtime has" in install(checkout, tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("environ", "device", "found"),
    [
        ({"COLAB_RELEASE_TAG": "release"}, "dev/vfio/0", Runtime("colab", "tpu")),
        ({"KAGGLE_KERNEL_RUN_TYPE": "Interactive"}, "dev/accel0", Runtime("kaggle", "tpu")),
        ({"COLAB_RELEASE_TAG": "release"}, "dev/nvidia0", Runtime("colab", "gpu")),
        ({}, "dev/vfio/vfio", Runtime("jupyter", "cpu")),
        ({"JAX_PLATFORMS": "cpu"}, "dev/nvidia0", Runtime("jupyter", "cpu")),
    ],
)
def test_hosts_and_accelerators_are_told_apart(
    environ: dict[str, str], device: str, found: Runtime, tmp_path: pathlib.Path
):
    (tmp_path / device).parent.mkdir(parents=True)
    (tmp_path / device).touch()
    assert runtime.find(environ, tmp_path) == found


def test_runs_lie_where_they_outlast_the_runtime(tmp_path: pathlib.Path):
    kaggle = runtime.runs_folder(Runtime("kaggle", "tpu"), tmp_path, drive=False)
    assert kaggle == pathlib.Path("/kaggle/working/runs")
    assert runtime.runs_folder(Runtime("jupyter", "cpu"), tmp_path, drive=True) == tmp_path / "runs"


def test_a_run_goes_on_with_what_it_was_begun_with_on_another_device(tmp_path: pathlib.Path):
    assert runtime.begun(tmp_path) == {}
    (tmp_path / "config.json").write_text(
        '{"data": {"batch_size": 32}, "model": {"compute_dtype": "bfloat16", "d_model": 64}}'
    )
    assert runtime.begun(tmp_path) == {"batch_size": 32, "compute_dtype": "bfloat16"}
