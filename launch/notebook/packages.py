"""The packages of a notebook's own Python: what is missing is installed, and what fits is left alone.

A runtime such as Colab's comes with hundreds of packages that fit each other, and a JAX that fits its
accelerator. So what it has is kept where it is within pyproject.toml's bounds; what comes new has the version
of the lock. tinyjax itself is not installed: notebook and commands take it from the checkout.
"""

import dataclasses
import importlib
import importlib.metadata
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Collection, Mapping, Sequence

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from launch.notebook.runtime import Runtime

_EXTRAS = ("hf", "gguf")  # what the notebook exports to
_CUDA_13 = 580  # the oldest driver that has it

Versions = Mapping[str, str]  # of installed packages, by canonical name


class RestartNeededError(Exception):
    """Packages were replaced that this Python has loaded already."""


@dataclasses.dataclass(frozen=True)
class Order:
    """What pip is asked for."""

    requirements: tuple[str, ...]
    constraints: tuple[str, ...]


def install(checkout: pathlib.Path, runtime: Runtime) -> str:
    """Installs what is missing in this Python; returns a sentence on it.

    Raises:
      RestartNeededError: a package that is in use was replaced.
      RuntimeError: this Python isn't one that tinyjax runs on, or pip failed.
    """
    project = tomllib.loads((checkout / "pyproject.toml").read_text())["project"]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    lock = checkout / "requirements" / f"py{version}-dev.lock"  # the one that has the TPU's library too
    if not lock.exists():
        raise RuntimeError(
            f"tinyjax needs Python {project['requires-python']}, and this runtime has {version}"
        )
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(checkout), os.environ.get("PYTHONPATH")]))
    before = installed()
    wanted = order(
        project, runtime, before, lock.read_text(), driver() if runtime.accelerator == "gpu" else 0
    )
    if wanted is None:
        return "All packages are here already."
    _pip(wanted)
    importlib.invalidate_caches()
    after = installed()
    if stale := loaded(changed(before, after), sys.modules, importlib.metadata.packages_distributions()):
        raise RestartNeededError(
            f"{', '.join(stale)}: replaced while in use. Restart the session (menu Runtime, Run or Kernel), "
            "and run all cells again; nothing is lost"
        )
    return f"{len(after) - len(before)} packages were added, {len(changed(before, after))} replaced."


def installed() -> dict[str, str]:
    """Returns the version of every package that this Python finds; of two, the one that it would load."""
    found: dict[str, str] = {}
    for package in importlib.metadata.distributions():
        found.setdefault(canonicalize_name(package.name), package.version)
    return found


def driver() -> int:
    """Returns the major version of NVIDIA's driver, 0 where it doesn't tell."""
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return 0
    return int(told.split(".")[0])


def order(project: Mapping, runtime: Runtime, have: Versions, lock: str, driver: int = 0) -> Order | None:
    """Returns what to ask pip for, None where nothing is missing.

    Args:
      project: the table of pyproject.toml.
      runtime: whose accelerator JAX is to use.
      have: what is installed.
      lock: text of the lock for this Python.
      driver: major version of NVIDIA's driver.
    """
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(line for name in _EXTRAS for line in extras[name])]
    unfit = {name for name, fits in ((_name(line), _fits(line, have)) for line in wanted) if not fits}
    if "jax" in unfit or not _has_plugin(runtime, have):
        wanted += _jax_for(runtime, extras, driver)
    elif not unfit:
        return None
    pins = [line for line in _pins(lock) if _name(line) in unfit or _name(line) not in have]
    return Order(tuple(wanted), tuple(pins))


def _name(line: str) -> str:
    return canonicalize_name(Requirement(line).name)


def _fits(line: str, have: Versions) -> bool:
    requirement = Requirement(line)
    version = have.get(canonicalize_name(requirement.name))
    return version is not None and requirement.specifier.contains(version, prereleases=True)


def _has_plugin(runtime: Runtime, have: Versions) -> bool:
    """Whether JAX has what it needs for the accelerator."""
    if runtime.accelerator == "gpu":
        return any(re.fullmatch(r"jax-cuda\d+-plugin", name) for name in have)
    return runtime.accelerator == "cpu" or "libtpu" in have


def _jax_for(runtime: Runtime, extras: Mapping[str, Sequence[str]], driver: int) -> list[str]:
    """Returns what to ask for so that JAX comes with the accelerator's part."""
    if runtime.accelerator == "gpu" and driver < _CUDA_13:
        return [line.replace("cuda13", "cuda12") for line in extras["cuda"]]
    return (
        list(extras[{"tpu": "tpu", "gpu": "cuda"}[runtime.accelerator]])
        if runtime.accelerator != "cpu"
        else []
    )


def _pins(lock: str) -> list[str]:
    """Returns the lines of a lock without its hashes: pip would then want one of everything."""
    return [line.removesuffix("\\").strip() for line in lock.splitlines() if re.match(r"[\w.-]+==", line)]


def _pip(order: Order) -> None:
    """Installs; without the constraints where these and what the runtime has don't go together."""
    if _try_pip(order.requirements, order.constraints) and (told := _try_pip(order.requirements, ())):
        raise RuntimeError(f"pip failed (on Kaggle: is Internet on, in the settings?):\n{told[-2000:]}")


def _try_pip(requirements: Sequence[str], constraints: Sequence[str]) -> str:
    """Returns what pip said where it failed, "" where it did not."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(constraints))
        file.flush()
        command = [sys.executable, "-m", "pip", "install", "--constraint", file.name, *requirements]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.stdout if done.returncode else ""


def changed(before: Versions, after: Versions) -> set[str]:
    """Returns the packages that have another version than before."""
    return {name for name, version in before.items() if after.get(name) != version}


def loaded(
    packages: Collection[str], modules: Collection[str], owners: Mapping[str, Sequence[str]]
) -> list[str]:
    """Returns those of the packages that own one of the loaded modules."""
    own = {canonicalize_name(owner) for module in modules for owner in owners.get(module, ())}
    return sorted(own.intersection(packages))
