"""The network once more, in plain NumPy and float64: an independent reading of what a file of weights means.

Written from the papers and the formats' descriptions, one story at a time, without JAX and without our own
decoder, so that a mistake in either shows when their logits are compared.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

Block = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Weights:
    """A model as files have it: matrices are [outputs, inputs]; what is None the architecture lacks.

    A block has `attention_norm`, `q`, `k`, `v`, `o`, `mlp_norm`, `up`, `down`, and where there is one,
    `gate`, `q_norm`, `k_norm`, and for any of these NAME a `NAME_bias`.
    """

    embedding: np.ndarray  # [V, D]
    head: np.ndarray  # [V, D]
    blocks: Sequence[Block]
    final_norm: np.ndarray
    heads: int
    kv_heads: int
    eps: float
    final_norm_bias: np.ndarray | None = None
    positions: np.ndarray | None = None  # [T, D]: learned; otherwise rotary
    theta: float = 10000.0
    adjacent_pairs: bool = False  # rotary: turns (2i, 2i + 1), otherwise (i, i + K/2)
    windows: Sequence[int] = ()  # of each block; 0, or none at all: sees everything before
    unscaled: bool = False  # attention logits aren't divided by sqrt(K)


def logits(weights: Weights, ids: Sequence[int]) -> np.ndarray:
    """Returns float64 logits [T, V] of the ids of one text."""
    x = weights.embedding.astype(np.float64)[list(ids)]
    if weights.positions is not None:
        x = x + weights.positions[: len(ids)]
    for i, block in enumerate(weights.blocks):
        window = weights.windows[i] if weights.windows else 0
        x = x + _attention(weights, block, _norm(block, "attention_norm", x, weights.eps), window)
        x = x + _mlp(block, _norm(block, "mlp_norm", x, weights.eps))
    last = {"final": weights.final_norm} | (
        {} if weights.final_norm_bias is None else {"final_bias": weights.final_norm_bias}
    )
    return _norm(last, "final", x, weights.eps) @ weights.head.astype(np.float64).T


def _linear(block: Block, name: str, x: np.ndarray) -> np.ndarray:
    out = x @ block[name].astype(np.float64).T
    return out + block[f"{name}_bias"] if f"{name}_bias" in block else out


def _norm(block: Block, name: str, x: np.ndarray, eps: float) -> np.ndarray:
    """Returns LayerNorm where there is a bias, RMSNorm otherwise."""
    if f"{name}_bias" not in block:
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * block[name]
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * block[name] + block[f"{name}_bias"]


def _attention(weights: Weights, block: Block, x: np.ndarray, window: int) -> np.ndarray:
    """Returns what a block's attention adds, head by head."""
    length, group = len(x), weights.heads // weights.kv_heads
    q, k, v = (_linear(block, name, x) for name in "qkv")
    q, k, v = (
        y.reshape(length, n, -1)
        for y, n in ((q, weights.heads), (k, weights.kv_heads), (v, weights.kv_heads))
    )
    if "q_norm" in block:
        q, k = _norm(block, "q_norm", q, weights.eps), _norm(block, "k_norm", k, weights.eps)
    if weights.positions is None:
        q, k = _rotated(weights, q), _rotated(weights, k)
    distance = np.arange(length)[:, None] - np.arange(length)
    unseen = (distance < 0) | (distance >= window if window else False)
    mixed = []
    for head in range(weights.heads):
        scores = q[:, head] @ k[:, head // group].T / (1 if weights.unscaled else np.sqrt(q.shape[-1]))
        scores = np.where(unseen, -np.inf, scores)
        odds = np.exp(scores - scores.max(-1, keepdims=True))
        mixed.append(odds / odds.sum(-1, keepdims=True) @ v[:, head // group])
    return _linear(block, "o", np.concatenate(mixed, -1))


def _rotated(weights: Weights, x: np.ndarray) -> np.ndarray:
    """Turns each pair of numbers, as one complex number, by position times its frequency."""
    width = x.shape[-1]
    angles = np.arange(len(x))[:, None, None] * weights.theta ** (-np.arange(0, width, 2) / width)
    first, second = (x[..., ::2], x[..., 1::2]) if weights.adjacent_pairs else np.split(x, 2, -1)
    turned = (first + 1j * second) * np.exp(1j * angles)
    parts = turned.real, turned.imag
    return np.stack(parts, -1).reshape(x.shape) if weights.adjacent_pairs else np.concatenate(parts, -1)


def _mlp(block: Block, x: np.ndarray) -> np.ndarray:
    """Returns SwiGLU with a gate, GELU by its tanh approximation without."""
    up = _linear(block, "up", x)
    if "gate" in block:
        gate = _linear(block, "gate", x)
        return _linear(block, "down", gate / (1 + np.exp(-gate)) * up)
    gelu = up / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (up + 0.044715 * up**3)))
    return _linear(block, "down", gelu)
