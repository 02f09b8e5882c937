"""Sweeps small enough for tests; a file of sweeps, `--sweep=tests/sweep/tiny_sweeps.py`."""

from tests.tiny_config import get_config as get_tiny_config
from tinyjax.config import Config
from tinyjax.sweep.study import Member

SWEEPS = {
    "killed": (Member("whole"), Member("broken"), Member("short", flops=1e9)),
    "timed": (Member("timed"),),
}


def get_config(name: str = "") -> Config:
    config = get_tiny_config()
    config.train.checkpoint_every = 1000
    config.train.checkpoint_minutes = 0.01
    match name:
        case "whole":  # the tiny run of tests/tiny.py
            config.train.checkpoint_every = 50
        case "broken":
            config.mesh.tensor = 3  # of eight devices
        case "short":
            config.model.num_layers = 1
        case "timed":
            config.train.num_steps, config.train.minutes = 0, 1.0
        case _:
            raise KeyError(name)
    return config
