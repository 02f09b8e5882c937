"""Numbers that the real `transformers` gave, and the weights they belong to, which are drawn anew each time.

Made by `.venv-parity/bin/python -m tests.parity.make_golden` (see `./tools/test --parity`). A file NAME.npz
holds the library's config.json, the names and shapes of its tensors, ids [B, T], logits [B, T, V] in float32,
and of the gradient of the mean loss of the next token, for each tensor, PROJECTIONS numbers and its norm.
"""

import json
import math
import pathlib
from collections.abc import Mapping

import numpy as np

FOLDER = pathlib.Path(__file__).parent
NAMES = sorted(path.stem for path in FOLDER.glob("*.npz"))
PROJECTIONS = 3


def draw(shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> dict[str, np.ndarray]:
    """Returns weights, the same for the same names and shapes, with which attention attends."""
    weights = {}
    for i, name in enumerate(sorted(shapes)):
        rng, shape = np.random.default_rng([seed, i]), shapes[name]
        is_norm = len(shape) == 1 and name.endswith("weight")
        spread = 0.8 / math.sqrt(shape[-1]) if len(shape) == 2 else 0.3
        weights[name] = (is_norm + spread * rng.standard_normal(shape)).astype(np.float32)
    return weights


def digest(gradients: Mapping[str, np.ndarray]) -> np.ndarray:
    """Returns, for the tensors in the order of their names, random projections and the norm: [N, P + 1]."""
    rows = []
    for i, name in enumerate(sorted(gradients)):
        x = gradients[name].astype(np.float64)
        across = np.random.default_rng([1, i]).standard_normal((PROJECTIONS, *x.shape))
        rows.append([*(across * x).reshape(PROJECTIONS, -1).sum(1), np.linalg.norm(x)])
    return np.array(rows)


def load(name: str) -> dict:
    """Returns {"config", "shapes", "ids", "logits", "gradients"} of a file."""
    with np.load(FOLDER / f"{name}.npz") as file:
        texts = {key: json.loads(str(file[key])) for key in ("config", "shapes")}
        return texts | {key: file[key] for key in ("ids", "logits", "gradients")}
