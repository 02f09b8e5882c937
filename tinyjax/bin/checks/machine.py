"""Has the machine room, memory, file descriptors, and which GPU driver?"""

import os
import resource
import shutil
import subprocess
from collections.abc import Sequence
from importlib import metadata

from etils import epath

from tinyjax.bin.checks.finding import Finding

_GB = 1e9
_MEMORY_GB = 2.0
_SHARED = "/dev/shm"
_SHARED_GB = 0.25  # 64 MB is what a container gets; loader processes hand on batches through it
_DESCRIPTORS = 1024
_PLUGINS = ("jax-cuda13-plugin", "jax-cuda12-plugin")


def disk(folders: Sequence[tuple[str, epath.Path]], least_gb: float) -> Sequence[Finding]:
    """Is there room in these folders, and for processes to share?"""
    return [
        *(_room(name, path, least_gb) for name, path in folders),
        *([_room("shared memory", epath.Path(_SHARED), _SHARED_GB)] if os.path.isdir(_SHARED) else []),
    ]


def _room(name: str, folder: epath.Path, least_gb: float) -> Finding:
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free / _GB
    told = f"{free:.1f} GB free in '{folder}'"
    if not os.access(there, os.W_OK):
        mend = "choose another folder, or change its rights"
        return Finding(name, "problem", f"'{there}' may not be written to", mend)
    if free < least_gb:
        level = "problem" if free < least_gb / 10 else "warning"
        return Finding(
            name, level, f"{told}, less than {least_gb:g}", "free some space, or choose another folder"
        )
    return Finding(name, "ok", told)


def memory() -> Sequence[Finding]:
    """Is there memory?"""
    free, total = (page * os.sysconf("SC_PAGE_SIZE") / _GB for page in _pages())
    told = f"{free:.1f} of {total:.1f} GB free"
    if free < _MEMORY_GB:
        return [Finding("memory", "warning", f"{told}, less than {_MEMORY_GB:g}", "end what else runs here")]
    return [Finding("memory", "ok", told)]


def _pages() -> tuple[int, int]:
    """Returns how many pages are free, or all where that is not told, and how many there are."""
    total = os.sysconf("SC_PHYS_PAGES")
    file = epath.Path("/proc/meminfo")
    if not file.exists():
        return total, total
    (kilobytes,) = (
        line.split()[1] for line in file.read_text().splitlines() if line.startswith("MemAvailable")
    )
    return int(kilobytes) * 1024 // os.sysconf("SC_PAGE_SIZE"), total


def descriptors() -> Sequence[Finding]:
    """May a process open files enough?"""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    told = f"a process may open {'any number' if limit == resource.RLIM_INFINITY else limit} of them"
    if 0 <= limit < _DESCRIPTORS:
        return [Finding("files", "warning", told, "raise the limit: ulimit -n 65536")]
    return [Finding("files", "ok", told)]


def gpu() -> Sequence[Finding]:
    """Which GPUs and which driver are there, and has JAX what it needs for them?"""
    if not (program := shutil.which("nvidia-smi")):
        return [Finding("gpu", "ok", "none (there is no nvidia-smi)")]
    command = [program, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    asked = subprocess.run(command, capture_output=True, text=True, timeout=15)
    if asked.returncode:
        said = (asked.stdout + asked.stderr).strip().splitlines()[:1]
        return [Finding("gpu", "problem", f"nvidia-smi fails ({' '.join(said)})", "mend the driver")]
    gpus = "; ".join(line.replace(", ", ", driver ") for line in asked.stdout.splitlines())
    installed = {dist.name: dist.version for name in _PLUGINS for dist in metadata.distributions(name=name)}
    if not installed:
        return [Finding("gpu", "problem", f"{gpus}; JAX has no CUDA plugin", "pip install 'tinyjax[cuda]'")]
    return [Finding("gpu", "ok", f"{gpus}; {', '.join(' '.join(item) for item in installed.items())}")]
