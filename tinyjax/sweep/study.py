"""What a sweep is: a file of experiments, and which of them are trained to be compared.

A file of sweeps has, beside the `get_config(name)` of any file of experiments,

    SWEEPS = {"heads": (Member("768x2-2heads"), Member("768x2-4heads"), ...), ...}
"""

import dataclasses
import importlib.util
import os
from collections.abc import Callable

from tinyjax.config import Config
from tinyjax.errors import UserError, nearest


@dataclasses.dataclass(frozen=True)
class Member:
    """One model of a sweep."""

    name: str  # get_config(name) is its config, and the run folder is named after it
    flops: float = 0.0  # to train for, whatever steps the config has; 0: the config's steps
    least_steps: int = 0  # to train for so many FLOPs, the batch is halved until they make so many steps
    most_steps: int = 0  # where FLOPs allow more steps than these, it stops here; 0: no limit


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Models that are trained to be compared."""

    file: str  # where they stand, as it was given
    name: str
    members: tuple[Member, ...]
    get_config: Callable[[str], Config]


def load_sweep(given: str) -> Sweep:
    """Reads configs/sweeps/paper.py:heads, or the one sweep of configs/sweeps/x.py, its first.

    Raises:
      UserError: there is no such file or sweep.
    """
    file, _, name = given.partition(":")
    module = _load(file)
    sweeps, get_config = getattr(module, "SWEEPS", None), getattr(module, "get_config", None)
    if not sweeps or get_config is None:
        raise UserError(
            f"'{file}' has no SWEEPS and get_config(name); give a file such as those in configs/sweeps"
        )
    name = name or next(iter(sweeps))
    if name not in sweeps:
        raise UserError(
            f"there is no sweep '{name}' in '{file}'{nearest(name, sweeps)}; it has {', '.join(sweeps)}"
        )
    return Sweep(file, name, tuple(sweeps[name]), get_config)


def _load(file: str) -> object:
    """Runs a file of experiments."""
    if not file.endswith(".py") or not os.path.isfile(file):
        raise UserError(f"no file of sweeps at '{file}'; give one such as configs/sweeps/small.py")
    spec = importlib.util.spec_from_file_location("tinyjax_sweep_file", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
