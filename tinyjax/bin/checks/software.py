"""Is the software the one that was locked?"""

import platform
import sys
from collections.abc import Sequence
from importlib import metadata

from etils import epath
from packaging.requirements import Requirement

import tinyjax
from tinyjax.bin.checks.finding import Finding

MAIN = ("jax", "jaxlib", "libtpu", "flax", "orbax-checkpoint", "numpy")
OPTIONAL = ("libtpu",)
_PYTHONS = ((3, 11), (3, 12), (3, 13))
_SHOWN = 4


def python() -> Sequence[Finding]:
    """Is it a Python that tinyjax runs with?"""
    told = f"{platform.python_version()} ({sys.executable})"
    if sys.version_info[:2] in _PYTHONS:
        return [Finding("python", "ok", told)]
    return [Finding("python", "problem", told, "tinyjax needs 3.11, 3.12 or 3.13: run ./tools/setup again")]


def versions() -> Sequence[Finding]:
    """Which versions are installed of what matters most?"""
    there = {name: version(name) for name in MAIN}
    told = ", ".join(f"{name} {installed or 'not installed'}" for name, installed in there.items())
    if any(not installed and name not in OPTIONAL for name, installed in there.items()):
        return [Finding("versions", "problem", told, "run ./tools/setup run")]
    return [Finding("versions", "ok", told)]


def lock_file() -> epath.Path:
    """Returns the lock for this Python in the repository, which need not be there."""
    numbers = f"{sys.version_info.major}.{sys.version_info.minor}"
    return epath.Path(tinyjax.__file__).parent.parent / "requirements" / f"py{numbers}.lock"


def lock(file: epath.Path) -> Sequence[Finding]:
    """Is what is installed what the lock says?"""
    if not file.exists():
        return [Finding("lock", "warning", f"there is no '{file}'; versions can't be compared")]
    locked = _locked(file.read_text())
    differing = [
        f"{name} {installed or 'missing'} ({wanted} is locked)"
        for name, wanted in locked.items()
        if (installed := version(name)) != wanted
    ]
    if not differing:
        return [Finding("lock", "ok", f"all {len(locked)} packages are as in {file.name}")]
    shown = ", ".join(differing[:_SHOWN]) + (", ..." if len(differing) > _SHOWN else "")
    told = f"{len(differing)} of {len(locked)} packages differ from {file.name}: {shown}"
    return [Finding("lock", "warning", told, "run ./tools/setup run")]


def _locked(text: str) -> dict[str, str]:
    """Maps the packages that a lock has for this machine to their versions."""
    lines = [line.rstrip("\\ ") for line in text.splitlines() if line[:1].isalnum()]
    wanted = [wish for wish in map(Requirement, lines) if wish.marker is None or wish.marker.evaluate()]
    return {wish.name: next(iter(wish.specifier)).version for wish in wanted}


def version(name: str) -> str:
    """Returns the version of a package that is installed, "" of any other."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
