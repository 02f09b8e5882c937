"""Starts JAX the way every binary wants it: cores as devices on a CPU, and a compile cache on disk."""

import glob
import os

import jax

from tinyjax.cache import cache_folder
from tinyjax.planning.target import LIBTPU


def start(batch_size: int = 0) -> None:
    """Configures JAX; to be called before anything asks for devices.

    Without an accelerator, as many CPU devices are made as there are cores, or the largest number below
    that which divides `batch_size` (0: one device).
    """
    if not glob.glob("/dev/accel*") and not glob.glob("/dev/vfio/*"):  # there's no TPU, but maybe its library
        for name, value in LIBTPU.items():
            os.environ.setdefault(name, value)  # it complains otherwise
    divisors = (n for n in range(cores(), 0, -1) if batch_size and batch_size % n == 0)
    if "JAX_NUM_CPU_DEVICES" not in os.environ:
        jax.config.update("jax_num_cpu_devices", next(divisors, 1))
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(cache_folder("jax")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def cores() -> int:
    """Returns how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
