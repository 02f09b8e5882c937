"""The blocks' matrices as llama2.c and GGUF have them: [L, outputs, inputs], with their pairs of RoPE."""

import math

import numpy as np

from tinyjax.config import ModelConfig
from tinyjax.model.parameters import abstract_params

_INPUTS = {"query": 1, "key": 1, "value": 1, "output": 2, "gate": 1, "up": 1, "down": 1}  # dimensions of ours
_TURNED = ("query", "key")  # by RoPE


def row_shapes(config: ModelConfig) -> dict[str, tuple[int, int, int]]:
    """Returns the shapes of what `to_rows` returns: L, outputs, inputs."""
    layers, shapes = abstract_params(config)["layers"], {}
    for name, dimensions in _INPUTS.items():
        blocks, *rest = layers[name].shape
        shapes[name] = blocks, math.prod(rest[dimensions:]), math.prod(rest[:dimensions])
    return shapes


def to_rows(params: dict, *, adjacent: bool) -> dict[str, np.ndarray]:
    """Returns the matrices of all blocks by name, float32 [L, outputs, inputs].

    Args:
      params: the tree of a llama model.
      adjacent: whether RoPE is to turn the pairs (2i, 2i + 1) of a head, where ours turns (i, i + K/2).
    """
    rows = {}
    for name, dimensions in _INPUTS.items():
        x = params["layers"][name]
        if adjacent and name in _TURNED:
            x = x.reshape(*x.shape[:-1], 2, -1).swapaxes(-1, -2)
        inputs = math.prod(x.shape[1 : 1 + dimensions])
        rows[name] = np.ascontiguousarray(x.reshape(len(x), inputs, -1).swapaxes(1, 2))
    return rows


def from_rows(config: ModelConfig, rows: dict[str, np.ndarray], *, adjacent: bool) -> dict[str, np.ndarray]:
    """Returns the matrices as `parameters.declare` has them; the inverse of `to_rows`."""
    shapes = abstract_params(config)["layers"]
    layers = {}
    for name in _INPUTS:
        x, shape = rows[name].swapaxes(1, 2), shapes[name].shape
        if adjacent and name in _TURNED:
            x = x.reshape(*shape[:-1], -1, 2).swapaxes(-1, -2)
        layers[name] = np.ascontiguousarray(x.reshape(shape), np.float32)
    return layers
